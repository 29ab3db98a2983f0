"""The experiment of choosing which images to have labelled, by an encoder that has learnt without labels."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from kdjax.core import check_option, pick
from kdjax.data import Dataset
from kdjax.evaluate.encoder import probed_rows
from kdjax.evaluate.selective import WAYS, selective
from kdjax.experiment import representation
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, stages_of
from kdjax.experiment.entry import Entry, Table
from kdjax.experiment.report_table import Cell, Lines, Measured, ReportTable, gain
from kdjax.experiment.representation import RepresentationContext
from kdjax.train import Stage

NAMES = WAYS
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
        return made | {c.name: _measured_too(made[c.name], selective(**section))}

    found = representation.build(config, {name: Entry(entry.method, stages=stages)})
    _check(section, found.dataset)
    return found._replace(tables=lambda measured: tables(measured, section["budgets"]))


def tables(measured: Measured, budgets: Sequence[int]) -> list[ReportTable]:
    """Accuracy by the number of labels with the gain over random rows, and how the chosen rows lie over the classes.

    Args:
      measured: `{stage: {measure: one number a seed}}`.
      budgets: how many labels there are.
    """
    found = {name: values for one in measured.values() for name, values in one.items()}
    cell = lambda way, budget, what: list(found.get(f"test_{way}_{budget}_{what}", ()))  # noqa: E731
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


def _measured_too(stage: Stage, *measures: Callable) -> Stage:
    """The stage with further measures."""

    def evaluate(collect, split, final):
        return {name: value for one in (stage.evaluate, *measures) for name, value in one(collect, split, final).items()}

    return stage._replace(evaluate=evaluate)


def _check(section: dict, dataset: Dataset) -> None:
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


def _counts(largest: Sequence[float], smallest: Sequence[float]) -> str:
    return f"{np.mean(largest):.1f} / {np.mean(smallest):.1f}" if len(largest) and len(smallest) else ""
