"""The experiment of telling beforehand which task an encoder for another one is best learnt on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from kdjax import data
from kdjax.core import Net, check_option
from kdjax.evaluate.coefficient import COEFFICIENTS, correlation_coefficient
from kdjax.evaluate.task_gradient import pge_distance, principal_gradient
from kdjax.evaluate.tasks import on_task
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, context_fields
from kdjax.experiment.data import load_data, view
from kdjax.experiment.report_table import Cell, Measured, Points, ReportTable
from kdjax.experiment.task_stage import task_stage
from kdjax.experiment.tasks import Task, check_tasks, read_tasks, splits_of

# Name of a score -> in words, and 1 where more of it promises more, or -1.
SCORES = {
    "pge": ("PGE distance", -1),
    "pge_normalised": ("PGE distance, of normalised gradients", -1),
    "leep": ("LEEP", 1),
    "h_score": ("H-score", 1),
    "log_me": ("LogME", 1),
}
Pairs = Mapping[tuple[str, str], Mapping[str, Sequence[float]]]  # (source, target) -> what -> one number a seed


def build(config: Config) -> Experiment:
    """A net for each of the tasks `config.sources`, and what it is worth for each of `config.targets`; distances of the tasks.

    Args:
      config: filled; the tasks as `read_tasks` has them, the section `transfer` as `evaluate.tasks.on_task`, `gradient` as of
        `distances`.
    """
    check_option("--config.select", config.select, lambda s: s == "last", "'last': tasks have no validation images")
    dataset, section = load_data(config), plain(config.transfer)
    sources, targets = (
        read_tasks(getattr(config, name), dataset, config.data, f"--config.{name}") for name in ("sources", "targets")
    )
    check_tasks(targets, "--config.transfer", section)
    c = ClassifierContext(name="", **context_fields(config, dataset, config.training, epoch_steps=0))
    measures = [on_task(one.name, digest=one.digest, scores=True, **section) for one in targets]
    stages = {name: stage for one in sources for name, stage in task_stage(replace(c, name=one.name), one, measures).items()}
    every = {one.name: one for one in (*sources, *targets)}

    def net_of(one: Task) -> Net:
        return replace(c, axis_name=None).build({**c.specification, "classes": one.classes})

    def report(measured: Measured, lines: Sequence[Mapping]) -> list[ReportTable]:
        found = distances(list(every.values()), net_of, view(config.data.crop), config.seed, config.seeds, **config.gradient)
        learnt_on, taken_to = ({one.name: one.title for one in part} for part in (sources, targets))
        return tables(measured, learnt_on, taken_to, found)

    _check(config.gradient, every.values())
    return Experiment(stages, dataset, splits=splits_of(list(every.values())), tables=report)


def distances(
    tasks: Sequence[Task], net_of: Callable[[Task], Net], seen: Callable, seed: int, seeds: int, *, batch: int, batches: int
) -> dict[tuple[str, str], dict[str, list[float]]]:
    """The distances `evaluate.pge_distance` of every two tasks, in both forms, by the names of the tasks.

    Args:
      tasks: described each by its rows to learn from.
      net_of: `task -> Net`, alike but for the classifier.
      seen: `images -> what nets see`, of a batch as it is read.
      seed: of the order of rows and of the weights.
      seeds: how many descriptions, each of other weights.
      batch: rows a batch, the same for all tasks.
      batches: of a description.

    Returns:
      `{(task, other): {"pge": [seeds], "pge_normalised": [seeds]}}`, without pairs of a task with itself.
    """
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for number in range(seed, seed + seeds):
        each = {}
        for one in tasks:
            sampler = data.epochs(one.train.size, batch)
            read = (one.train.read(sampler.rows(number, step)) for step in range(batches))
            rows = ({"image": seen(now["image"]), "label": now["label"]} for now in read)
            each[one.name] = principal_gradient(net_of(one), rows, jax.random.key(number))
        for a in each:
            for b in set(each) - {a}:
                own = found.setdefault((a, b), {"pge": [], "pge_normalised": []})
                for name, values in own.items():
                    values.append(pge_distance(each[a], each[b], normalised=name == "pge_normalised"))
    return found


def tables(
    measured: Measured, sources: Mapping[str, str], targets: Mapping[str, str], distance: Mapping[tuple[str, str], Mapping]
) -> list[ReportTable]:
    """What each net is worth for each task, how far the tasks lie apart, and how well every score foretells the first.

    Args:
      measured: `{stage: {measure: one number a seed}}`.
      sources: titles of the tasks that nets learnt, by their names.
      targets: titles of those that nets are taken to.
      distance: as of `distances`.
    """
    pairs: dict[tuple[str, str], dict[str, list[float]]] = {}
    for source in sources:
        for target in targets:
            own = {name: measured.get(source, {}).get(f"test_{target}_{name}", ()) for name in ("probe_accuracy", *SCORES)}
            own = {name: list(values) for name, values in own.items() if len(values)}
            if own:
                pairs[source, target] = own | {k: list(v) for k, v in distance.get((source, target), {}).items()}
    if not pairs:
        return []

    def by(what: str) -> dict[str, dict[str, Cell]]:
        return {
            title: {other: pairs[a, b].get(what, ()) for b, other in targets.items() if (a, b) in pairs}
            for a, title in sources.items()
        }

    # A net that learnt the task itself is no transfer: it is shown, and nothing is foretold of it.
    others: Pairs = {(a, b): own for (a, b), own in pairs.items() if a != b}
    learnt_on = "Rows: the task that a net learnt; columns: the task that it is taken to."
    note = f"Accuracy in percent of linear probes on frozen features. {learnt_on}"
    points = {
        f"to {title}": {
            sources[a]: (float(np.mean(own["pge"])), float(np.mean(own["probe_accuracy"])))
            for (a, b), own in others.items()
            if b == target
        }
        for target, title in targets.items()
    }
    plot = Points("PGE distance of the tasks", "accuracy of a linear probe, %", points)
    return [
        ReportTable("task_transfer", "Accuracy by what was learnt", by("probe_accuracy"), 2, note),
        ReportTable("task_distance", "PGE distances of the tasks", by("pge"), 4, learnt_on, plot),
        *_foretold(others, targets),
    ]


def _foretold(pairs: Pairs, targets: Mapping[str, str]) -> list[ReportTable]:
    """How well the scores go with accuracy, over sources, the mean over targets."""
    seeds = len(next(iter(pairs.values()))["probe_accuracy"])
    rows: dict[str, dict[str, Cell]] = {}
    for score, (title, sign) in SCORES.items():
        by_target = {}
        for target in targets:
            own = [one for (_, b), one in pairs.items() if b == target and score in one]
            if len(own) > 2:
                x, y = (np.array([one[what] for one in own], float) for what in (score, "probe_accuracy"))  # [source, seed]
                by_target[target] = sign * x, y
        if not by_target:
            continue
        means: dict[str, Cell] = {
            kind.capitalize(): [
                float(np.mean([correlation_coefficient(x[:, k], y[:, k], kind=kind) for x, y in by_target.values()]))
                for k in range(seeds)
            ]
            for kind in COEFFICIENTS
        }
        rows[title] = means | {
            targets[b]: [correlation_coefficient(x[:, k], y[:, k], kind="spearman") for k in range(seeds)]
            for b, (x, y) in by_target.items()
        }
    note = (
        "Correlations over the tasks that were learnt, without the target itself, between a score and the accuracy of the probe; "
    )
    note += "of distances with their sign changed, so that 1 is best throughout. First the means over all targets, then Spearman's "
    note += "by target; one number a seed."
    return [ReportTable("task_scores", "How well scores foretell the accuracy", rows, 2, note)] if rows else []


def _check(section: Config, tasks: Any) -> None:
    least = min(one.train.size for one in tasks)
    check_option(
        "--config.gradient.batch", section.batch, lambda n: 1 <= n <= least, f"1 to {least}, the images of the smallest task"
    )
    check_option("--config.gradient.batches", section.batches, lambda n: n >= 1, "1 or more")
