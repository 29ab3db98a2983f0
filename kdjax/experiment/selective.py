"""The experiment of choosing which images to have labelled, by an encoder that has learnt without labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import methods
from kdjax.core import Follower, Frozen, check_option, pick
from kdjax.data import Dataset, numbers_of
from kdjax.evaluate import nearest
from kdjax.evaluate.encoder import probed_rows
from kdjax.evaluate.measure import all_of
from kdjax.evaluate.selective import WAYS, selective, selective_by_clusters
from kdjax.experiment import representation
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, stages_of
from kdjax.experiment.entry import Entry, Table
from kdjax.experiment.report_table import Cell, Lines, Measured, ReportTable, gain
from kdjax.experiment.representation import RepresentationContext
from kdjax.train import Result, Stage

NAMES = {"uslt": "USL-T", **WAYS}
BASELINE = "random"


def build(config: Config, table: Table) -> Experiment:
    """The encoder of `representation.build`, and what rows that are chosen by its features are worth: `evaluate.selective`.

    Args:
      config: filled; its section `selection` says how many labels there are.
      table: of the methods by name.
    """
    name, section = config.method.name, plain(config.selection)
    entry = pick("method", name, table)

    def stages(c: RepresentationContext) -> dict[str, Stage]:
        made = stages_of(replace(c, entry=entry))
        if c.name == "untrained":
            return made
        encoder = made[c.name]
        measured = {c.name: encoder._replace(evaluate=all_of(encoder.evaluate, selective(**section)))}
        budgets = section["budgets"] if config.uslt.train else ()
        clusters = [clustered(c, budget, plain(config.uslt), section["c"]) for budget in budgets]
        return {name: stage for stages in (made, measured, *clusters) for name, stage in stages.items()}

    found = representation.build(config, {name: Entry(entry.method, stages=stages)})
    _check(section, config.uslt.method.neighbours, found.dataset)
    return found._replace(tables=lambda measured, lines: tables(measured, section["budgets"]))


def clustered(c: RepresentationContext, clusters: int, section: Mapping[str, Any], c_probe: float) -> dict[str, Stage]:
    """The stage of `methods.uslt` that starts from the encoder and learns so many clusters.

    Args:
      c: of the encoder.
      clusters: as many as there are labels.
      section: how it is trained, and the options of the method in `method`.
      c_probe: C of the probe.
    """
    settings = {**section["method"], "clusters": clusters}
    training = {"epochs": section["epochs"], "micro": 1, "optimiser": section["optimiser"]}
    images = c.source.read(np.arange(c.source.size))["image"]
    frozen = {"images": Frozen({"image": jnp.asarray(images)}, {}, f"images of {c.dataset.digest}")}

    def make(c: RepresentationContext):
        return methods.uslt(c.encoder, c.tx, weak=c.weak(), **c.options), c.strong_and_weak()

    def start(state: Any, result: Result, member: int) -> Any:
        # Copies: what two parts of a State share could not be donated.
        one, other = (jax.tree.map(lambda x: jnp.array(x[member]), result.weights["encoder"]) for _ in range(2))
        learner = state.learner
        params, stats = {**learner.params, "encoder": one["params"]}, {**learner.stats, "encoder": one["stats"]}
        return state._replace(learner=learner.replace(params=params, stats=stats), start=Follower(other["params"], other["stats"]))

    entry = Entry(methods.uslt, make)
    own = replace(c, name=f"uslt_{clusters}", entry=entry, settings=settings, training=training)
    fields = {"warm_start": start, "warm_start_from": c.name, "given": lambda results: frozen, "alarms": ()}
    fields |= {"evaluate": selective_by_clusters(c=c_probe), "score": "uslt_accuracy", "optional": True}
    fields |= {"refresh": neighbours_of(numbers_of(c.source)), "refresh_every": own.steps}
    return own.stage(nets=dict.fromkeys(("encoder", "start"), c.specification), **fields)


def neighbours_of(numbers: np.ndarray) -> Callable:
    """The `refresh` of a stage of `methods.uslt`: at its beginning, the images nearest to each by the features of the start.

    Args:
      numbers: the `"index"` `[N]` of the images, in the order of the method's rows.
    """
    row_of = {int(number): row for row, number in enumerate(numbers)}

    def refresh(collect, state, step, key):
        if step:
            return state
        outputs, columns = collect("train", "pooled")
        features = np.empty_like(outputs["start"]["pooled"])
        features[[row_of[int(number)] for number in columns["index"]]] = outputs["start"]["pooled"]
        count = state.neighbours.shape[1]
        _, near = nearest(jnp.asarray(features), jnp.asarray(features), k=count + 1)
        return state._replace(neighbours=near[:, 1:].astype(jnp.int32))  # the first one is the image itself

    return refresh


def tables(measured: Measured, budgets: Sequence[int]) -> list[ReportTable]:
    """Accuracy by the number of labels with the gain over random rows, and how the chosen rows lie over the classes.

    Args:
      measured: `{stage: {measure: one number a seed}}`.
      budgets: how many labels there are.
    """
    found = {name: values for one in measured.values() for name, values in one.items()}
    for budget in budgets:  # a stage of its own each
        own = measured.get(f"uslt_{budget}", {})
        found |= {name.replace("_uslt_", f"_uslt_{budget}_"): values for name, values in own.items()}

    def cell(way: str, budget: int, what: str) -> list[float]:
        return list(found.get(f"test_{way}_{budget}_{what}", ()))

    ways = [way for way in NAMES if any(cell(way, budget, "accuracy") for budget in budgets)]
    if not ways:
        return []
    accuracy, classes = {}, {}
    for way in ways:
        row: dict[str, Cell] = {f"{n} labels, %": cell(way, n, "accuracy") for n in budgets}
        gains = {f"{n}: over random rows": gain(cell(way, n, "accuracy"), cell(BASELINE, n, "accuracy")) for n in budgets}
        accuracy[NAMES[way]] = row | (gains if way != BASELINE else {})
        counts = {f"{n}: largest / smallest": _counts(cell(way, n, "largest"), cell(way, n, "smallest")) for n in budgets}
        classes[NAMES[way]] = {f"{n}: classes": cell(way, n, "classes") for n in budgets} | counts
    lines = {NAMES[way]: [cell(way, budget, "accuracy") for budget in budgets] for way in ways}
    note = "A linear probe on the features of the encoder, which has seen no label, learns from the chosen images alone. Gains: "
    note += "mean difference in points with its 95% interval, paired over the encoders, each of which is a mean over draws."
    counted = "How many classes occur among the chosen images, and how many images the most frequent and the rarest class has."
    return [
        ReportTable(
            "selection", "Accuracy by the labels that were chosen", accuracy, 2, note,
            Lines("labels", "test accuracy, %", budgets, lines, logarithmic=True),
        ),
        ReportTable("selected_classes", "Classes among the chosen images", classes, 1, counted),
    ]  # fmt: skip


def _check(section: dict, neighbours: int, dataset: Dataset) -> None:
    """Refuses what does not fit the images before anything is trained."""
    labels = dataset.train.labels()
    rows = probed_rows(labels, dataset.test.labels())
    size = len(rows.known) if rows else 0
    check_option("--config.data.source", size, lambda n: n > 0, "a set with labels, which say what a choice is worth")
    fits = lambda budgets: budgets and all(1 <= n <= size for n in budgets) and len(set(budgets)) == len(budgets)  # noqa: E731
    check_option("--config.selection.budgets", tuple(section["budgets"]), fits, f"numbers from 1 to {size}, the images, each once")
    check_option("--config.selection.draws", section["draws"], lambda n: n >= 1, "1 or more")
    check_option("--config.selection.k", section["k"], lambda n: 2 <= n <= size, f"2 to {size}, the images")
    check_option("--config.selection.c", section["c"], lambda v: v > 0, "a number above 0")
    near = lambda n: 1 <= n < dataset.train.size  # noqa: E731
    check_option("--config.uslt.method.neighbours", neighbours, near, f"1 to {dataset.train.size - 1}, the other images")


def _counts(largest: Sequence[float], smallest: Sequence[float]) -> str:
    return f"{np.mean(largest):.1f} / {np.mean(smallest):.1f}" if len(largest) and len(smallest) else ""
