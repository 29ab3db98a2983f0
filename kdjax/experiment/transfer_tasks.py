"""The experiment of encoders that learnt without labels, each taken to many tasks."""

from collections.abc import Mapping, Sequence

import numpy as np

from kdjax.core import check_option
from kdjax.evaluate import accuracy_logit, correlation_coefficient
from kdjax.evaluate.measure import all_of
from kdjax.evaluate.tasks import on_task
from kdjax.experiment import representation
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment
from kdjax.experiment.entry import Table
from kdjax.experiment.report_table import Cell, Measured, Points, ReportTable
from kdjax.experiment.tasks import ORIGINAL, check_tasks, read_tasks, splits_of

PROTOCOLS = {"probe": "linear probe", "knn": "kNN", "few_shot": "few-shot"}
FLOOR = "untrained"  # no method: its accuracies are shown, and belong to no correlation
TAKEN = ("online", "pixels")  # of measures that the encoder has anyway


def build(config: Config, table: Table, *, labelled: str = "") -> Experiment:
    """The encoders of `representation.build`, each measured by the set that it learnt on and by the tasks of `config.transfer`.

    Args:
      config: filled; `config.transfer.tasks` as `read_tasks` has them, the other fields as `evaluate.tasks.on_task`.
      table: of the methods by name.
      labelled: the encoder that learns from labels, if there is one.
    """
    found, section = representation.build(config, table), plain(config.transfer)
    names = section.pop("tasks")
    check_option("--config.transfer.tasks", tuple(names), bool, "one task or more")
    tasks = read_tasks((ORIGINAL, *names), found.dataset, config.data, "--config.transfer.tasks")
    taken = [one.name for one in tasks if one.name in TAKEN]
    check_option("--config.transfer.tasks", tuple(names), lambda _: not taken, f"no set named {' or '.join(TAKEN)}")
    check_tasks(tasks, "--config.transfer", section)
    measures = [on_task(one.name, digest=one.digest, **section) for one in tasks]
    stages = {name: stage._replace(evaluate=all_of(stage.evaluate, *measures)) for name, stage in found.stages.items()}
    titles, rows = {one.name: one.title for one in tasks}, min(one.test.size for one in tasks)
    return found._replace(
        stages=stages, splits=splits_of(tasks), tables=lambda measured, lines: tables(measured, titles, rows, labelled)
    )


def tables(measured: Measured, titles: Mapping[str, str], rows: int, labelled: str = "") -> list[ReportTable]:
    """Accuracies by encoder and task with the mean rank, for each way to measure, and how they go with that on the set itself.

    Args:
      measured: `{stage: {measure: one number a seed}}`.
      titles: of the tasks by name; the set itself is `"original"`.
      rows: that the smallest task is scored on.
      labelled: the encoder that learnt from labels: how accuracies go together is told with and without it.
    """
    found = {what: _accuracies(measured, titles, what) for what in PROTOCOLS}
    found = {what: rows for what, rows in found.items() if rows}
    if "probe" not in found:
        return []
    each = [_by_task(what, accuracies, titles) for what, accuracies in found.items()]
    return [*each, *_correlations(found, titles, rows, labelled)]


Accuracies = dict[str, dict[str, list[float]]]  # encoder -> task -> one number a seed


def _accuracies(measured: Measured, titles: Mapping[str, str], what: str) -> Accuracies:
    each = {stage: {task: list(own.get(f"test_{task}_{what}_accuracy", ())) for task in titles} for stage, own in measured.items()}
    return {stage: own for stage, own in each.items() if all(own.values())}


def mean_ranks(accuracies: Mapping[str, Mapping[str, Sequence[float]]], tasks: Sequence[str]) -> dict[str, list[float]]:
    """The rank of every encoder among all, the mean over tasks: 1 is the best, and equal ones share their mean rank.

    Args:
      accuracies: encoder -> task -> one number a seed.
      tasks: that count.

    Returns:
      encoder -> one number a seed.

    >>> mean_ranks({"a": {"x": [1.0], "y": [3.0]}, "b": {"x": [2.0], "y": [3.0]}}, ["x", "y"])
    {'a': [1.75], 'b': [1.25]}
    """
    x = np.array([[accuracies[name][task] for task in tasks] for name in accuracies], float)  # [encoder, task, seed]
    above, equal = ((x[None] > x[:, None]).sum(1), (x[None] == x[:, None]).sum(1))
    return dict(zip(accuracies, (above + (equal + 1) / 2).mean(1).tolist(), strict=True))


def _by_task(what: str, accuracies: Accuracies, titles: Mapping[str, str]) -> ReportTable:
    others = [task for task in titles if task != ORIGINAL]
    ranks = mean_ranks(accuracies, others)
    rows: dict[str, dict[str, Cell]] = {
        name: {**{f"{titles[task]}, %": own[task] for task in titles}, "mean rank": ranks[name]} for name, own in accuracies.items()
    }
    note = "Accuracy of encoders that learnt on the original images and are not changed. Ranks: among all rows, 1 the best, mean "
    note += f"over the tasks but for {ORIGINAL!r}."
    drawn = {
        name: (float(np.mean(own[ORIGINAL])), float(np.mean([own[task] for task in others]))) for name, own in accuracies.items()
    }
    plot = Points(f"{PROTOCOLS[what]} on the original images, %", f"{PROTOCOLS[what]}, mean over the other tasks, %", {"": drawn})
    return ReportTable(f"transfer_{what}", f"By task: {PROTOCOLS[what]}", rows, 2, note, plot)


def _correlations(found: Mapping[str, Accuracies], titles: Mapping[str, str], rows: int, labelled: str) -> list[ReportTable]:
    trained, others = [name for name in found["probe"] if name != FLOOR], [task for task in titles if task != ORIGINAL]
    without = [name for name in trained if name != labelled]
    groups = {"": trained} | ({f", without {labelled}": without} if len(without) < len(trained) else {})
    cells: dict[str, dict[str, Cell]] = {title: {} for title in titles.values()}
    cells["mean over the other tasks"] = mean = {}
    for words, encoders in groups.items():
        for what in found if len(encoders) > 2 else ():
            each = {task: _with_original(found, what, task, encoders, rows) for task in titles}
            column = PROTOCOLS[what] + words
            for task, values in each.items():
                itself = (what, task) == ("probe", ORIGINAL)
                cells[titles[task]][column] = "" if itself else values
            mean[column] = np.mean([each[task] for task in others], 0).tolist()
    if not mean:
        return []
    note = f"Pearson's correlation over the {len(trained)} trained encoders between the linear probe on the original images and "
    note += "each accuracy on a task, all of them as log(p / (1 - p)); one number a seed."
    probe = {name: {task: float(np.mean(values)) for task, values in found["probe"][name].items()} for name in trained}
    points = {titles[task]: {name: (probe[name][ORIGINAL], probe[name][task]) for name in trained} for task in others}
    plot = Points("linear probe on the original images, %", "linear probe on the task, %", points)
    return [
        ReportTable("transfer_correlation", "How accuracy on a task goes with that on the original images", cells, 2, note, plot)
    ]


def _with_original(found: Mapping[str, Accuracies], what: str, task: str, encoders: Sequence[str], rows: int) -> list[float]:
    """The correlation of a task's accuracies with those of the probe on the set itself, one number a seed."""
    x, y = (
        accuracy_logit(np.array([found[how][name][of] for name in encoders]), rows=rows)  # [encoder, seed]
        for how, of in (("probe", ORIGINAL), (what, task))
    )
    return [correlation_coefficient(a, b) for a, b in zip(x.T, y.T, strict=True)]
