"""What a person sees: progress while a run goes, and its table at the end."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table


class Progress:
    """A bar a stage; without a terminal, a line now and then."""

    def __init__(self, folder: Path, stages: Mapping[str, Any]):
        self._console = Console()
        self._console.print(f"run in {folder}: {', '.join(stages)}", highlight=False)
        self._bars = Bars(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        width = max(map(len, stages))
        self._rows = {n: self._bars.add_task(n.ljust(width), total=s.steps, start=False, note="", visible=False) for n, s in stages.items()}
        self._totals = {n: s.steps for n, s in stages.items()}
        self._spoken = 0.0

    def __enter__(self):
        self._bars.start()
        return self

    def __exit__(self, *error):
        self._bars.stop()

    def say(self, text: str) -> None:
        """One line above the bars."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def advance(self, stage: str, step: int, line: dict) -> None:
        """The state of a stage after a block."""
        note = _note(line)
        if self._console.is_terminal:
            self._bars.start_task(self._rows[stage])
            shown = {"note": note} if note else {}
            self._bars.update(self._rows[stage], completed=step, visible=True, **shown)
        elif line and (time.monotonic() - self._spoken > 5 or step == self._totals[stage]):
            self.say(f"{stage} {step}/{self._totals[stage]} {note}")
            self._spoken = time.monotonic()


def summary_table(summary: dict) -> None:
    """Results by network and measure: mean, standard deviation over seeds; then paired differences."""
    console = Console()
    seeds = len(summary["seeds"])
    table = Table(title=f"{summary['method']} on {summary['data']}, {seeds} seed{'s' * (seeds > 1)}, mean ± std")
    names = list(dict.fromkeys(key.split("/")[0] for key in summary["results"]))
    measures = list(dict.fromkeys(key.split("/")[1] for key in summary["results"]))
    table.add_column("measure")
    for name in names:
        table.add_column(name, justify="right")
    for measure in measures:
        cells = [summary["results"].get(f"{name}/{measure}") for name in names]
        table.add_row(measure, *(_cell(c) for c in cells))
    console.print(table)
    for c in summary["comparisons"]:
        verdict = "above" if c["low"] > 0 else "below" if c["high"] < 0 else "not told apart from"
        console.print(
            f"{c['network']} - {c['baseline']}: {c['mean']:+.2f} points of {c['measure']}, 95% interval "
            f"[{c['low']:+.2f}, {c['high']:+.2f}] over {seeds} seeds: {verdict} {c['baseline']}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def _cell(found: dict | None) -> str:
    if found is None:
        return ""
    return f"{found['mean']:.2f}" + (f" ± {found['std']:.2f}" if len(found["values"]) > 1 else "")


def _note(line: dict) -> str:
    shown = [k for k in line if k.endswith("loss") or k.endswith("accuracy")]
    values = {k: [v for v in np.ravel(line[k]) if v is not None] for k in shown}
    return "  ".join(f"{k} {np.mean(v):.3g}" for k, v in values.items() if v)
