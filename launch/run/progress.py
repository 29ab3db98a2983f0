"""What a person sees: progress while a run goes, and its table at the end."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from kdjax.core.printable import printable
from kdjax.evaluate import Measure, measure_of, same_kind
from kdjax.train.stage import score_of
from kdjax.train.sweep import members_by_point
from launch.run import cli
from launch.table import protocol
from launch.table.measures import known_measures, label
from launch.table.task import CLASSIFY, FEATURES, GENERATE


def tell(console: Console, text: object) -> None:
    """One line, which may hold names from outside, as it is: neither coloured nor broken, and safe for a terminal."""
    console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


class Progress:
    """A bar a stage; without a terminal, a line now and then."""

    def __init__(self, folder: Path, stages: Mapping[str, Any]):
        self._console = Console()
        self._terminal = self._console.is_terminal
        self._spoken, self._notes = 0.0, {name: {} for name in stages}
        self._totals = {name: stage.steps for name, stage in stages.items()}
        self._scores = {name: stage.score for name, stage in stages.items()}
        self._swept = {n: Leading(stage.hyper, stage.score, score_of(stage).sign) for n, stage in stages.items() if stage.choose}
        self.say(f"run in {folder}: {', '.join(stages)}")
        self._bars = Bars(
            TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"), console=self._console, disable=not self._terminal,
        )  # fmt: skip
        width = max(map(len, stages))
        new = {"start": False, "visible": False, "note": ""}
        self._rows = {name: self._bars.add_task(name.ljust(width), total=total, **new) for name, total in self._totals.items()}

    def __enter__(self):
        self._bars.start()
        self._announce(next(iter(self._totals)))
        return self

    def __exit__(self, *error):
        self._bars.stop()

    def say(self, text: str) -> None:
        """One line above the bars."""
        tell(self._console, text)

    def advance(self, stage: str, step: int, line: dict) -> None:
        """The state of a stage after a block; an empty line where the stage was done before."""
        self._notes[stage] |= self._swept[stage].note(line) if stage in self._swept else _note(line, self._scores[stage])
        note = "  ".join(f"{k} {v}" for k, v in self._notes[stage].items()) or ("" if line else "done before")
        finished = step == self._totals[stage]
        if self._terminal:
            self._bars.start_task(self._rows[stage])
            self._bars.update(self._rows[stage], completed=step, visible=True, note=note)
        elif finished or time.monotonic() - self._spoken > 5:
            self.say(f"{stage} {step}/{self._totals[stage]}  {note}")
            self._spoken = time.monotonic()
        if finished:
            names = list(self._totals)
            self._announce(*names[names.index(stage) + 1 :][:1])

    def _announce(self, *stages: str) -> None:
        """Shows the bar of a stage before its first block, whose compilation takes a while."""
        for stage in stages:
            self._bars.update(self._rows[stage], visible=True, note="compiling")


class Leading:
    """The point of a sweep that is ahead: the one that would be chosen by what was measured last.

    Args:
      hyper: the swept values by name, one a member.
      score: what chooses, on validation images; until it is there, the loss does.
      sign: 1 where a higher score is better, -1 where a lower one is.
    """

    def __init__(self, hyper: Mapping[str, Any], score: str, sign: int):
        self._points, self._score, self._sign, self._scored = members_by_point(hyper), score, sign, False
        self._ahead = 0

    def note(self, line: dict) -> dict[str, str]:
        """What is said of a line: the means of the point that is ahead, and which it is."""
        score = f"val_{self._score}"
        key = score if score in line else next((k for k in line if k.endswith("loss") and not self._scored), "")
        if key:
            values = np.array(np.ravel(line[key]), float) * (self._sign if key == score else -1)
            means = [values[members].mean() for _, members in self._points]
            self._ahead, self._scored = int(np.argmax(np.nan_to_num(means, nan=-np.inf))), self._scored or key == score
        point, members = self._points[self._ahead]
        own = {k: np.ravel(v)[members] for k, v in line.items() if len(np.ravel(v)) > 1}
        found = _note(own or line, self._score)
        which = ", ".join(f"{_words(name)} {value:g}" for name, value in point.items())
        return found | ({"at": f"{which}, ahead of {len(self._points) - 1} others"} if found and len(self._points) > 1 else {})


def summary_table(summary: dict, folder: Path) -> None:
    """Results by network and measure: mean, standard deviation over seeds; then paired differences, and where things are."""
    console = Console()
    seeds = len(summary["seeds"])
    title = f"{summary['method']} on {summary['data']}, {seeds} seed{'s' * (seeds > 1)}, mean ± standard deviation"
    table = Table(title=Text(printable(title)), box=box.SIMPLE_HEAD)
    known = known_measures(summary)
    keys = [key.split("/") for key in summary["results"]]
    names, measures = (list(dict.fromkeys(column)) for column in zip(*keys, strict=True))
    table.add_column("measure", vertical="bottom")
    for name in names:
        table.add_column(_words(name), justify="right", vertical="bottom")
    for measure in measures:
        cells = (_cell(summary["results"].get(f"{name}/{measure}"), measure_of(measure, known)) for name in names)
        table.add_row(_label(measure, known), *cells)
    console.print(table)
    if told := protocol.left_out(summary):
        tell(console, told)
    for c in summary["comparisons"]:
        verdict = "above" if c["low"] > 0 else "below" if c["high"] < 0 else "no significant difference"
        mean, low, high = (f"{c[k]:+.{measure_of(c['result'], known).digits}f}" for k in ("mean", "low", "high"))
        text = f"{_pair(c['result'], c['baseline'], known)}: {mean}, 95% interval [{low}, {high}] over {seeds} seeds: {verdict}"
        tell(console, text)
    for name, points in summary.get("points", {}).items():
        *numbers, score = points[0]
        digits = measure_of(score, known).digits
        tried = "; ".join(f"{', '.join(f'{_words(n)} {p[n]:g}' for n in numbers)}: {p[score]:.{digits}f}" for p in points)
        tell(console, f"{name}: chosen by {_label(score, known)}: {tried}")
    kept = f"kept in {folder}: report.md, summary.json, metrics.jsonl, plots/, models/"
    tell(console, kept)
    tasks = [task for own in summary.get("tasks", {}).values() for task in own]
    if CLASSIFY in tasks:
        tell(console, f"classify images with it: {cli.command('predict.py', folder)} <image or folder>")
    if FEATURES in tasks:
        tell(console, f"features of images by it: {cli.command('predict.py', folder)} <image or folder> --features=features.npz")
    if GENERATE in tasks:
        tell(console, f"draw images from it: {cli.command('sample.py', folder)} --out=images.png")


def _pair(result: str, baseline: str, known: Mapping[str, Measure]) -> str:
    (a, measure), (b, other) = result.split("/"), baseline.split("/")
    if measure == other:
        return f"{a} - {b}, {_label(measure, known)}"
    return f"{a} {_label(measure, known)} - {b} {_label(other, known)}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _label(measure: str, known: Mapping[str, Measure]) -> str:
    return label(measure.removeprefix("test_"), known)


def _cell(found: dict | None, measure: Measure) -> str:
    if found is None:
        return ""
    if found["mean"] is None:
        return "not finite"
    mean, std = (f"{found[k]:.{measure.digits}f}" for k in ("mean", "std"))
    return mean + (f" ± {std}" if len(found["values"]) > 1 else "")


def _note(line: dict, score: str) -> dict[str, str]:
    shown = [k for k in line if k.endswith("loss") or (k.startswith(("val_", "test_")) and same_kind(k, score))]
    values = {k: [v for v in np.ravel(line[k]) if v is not None] for k in shown}
    return {_words(k): f"{np.mean(v):.3g}" for k, v in values.items() if v}


class Silent:
    """What the other processes of a run show: nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def say(self, text: str) -> None:
        """Nothing."""

    def advance(self, stage: str, step: int, line: dict) -> None:
        """Nothing."""
