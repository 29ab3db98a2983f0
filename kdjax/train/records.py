"""What a run leaves on disk while it goes: measurements as JSON lines, times in a file of their own."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.core.files import append_lines, read_lines, write_text
from kdjax.train.processes import primary


class Records:
    """`metrics.jsonl` and `times.jsonl` of one run.

    A line is `{"stage", "step", ...}` with one value a member, and where there are alarms their words by measure, `"alarms"`.
    Checkpoints and finished stages hold the lines of their stage, which come back with them: so a run killed anywhere, and one
    whose file was torn or lost, ends with the same file as one that was not. Times are what is left of them. Of several processes
    only the first writes.
    """

    def __init__(self, folder: Path):
        self._metrics, self._times = folder / "metrics.jsonl", folder / "times.jsonl"
        self._writes = primary()
        self.lines = _read(self._metrics)

    def put(self, stages: Sequence[str], stage: str, lines: list[dict], *, grows: bool = False) -> None:
        """Makes `lines` those of a stage; files that hold just that are left alone.

        Args:
          stages: all, in the order their lines lie in.
          stage: which.
          lines: its lines, as they were added before.
          grows: more are to be added: those of later stages are dropped, until they are put again themselves.
        """
        kept = stages[: stages.index(stage) + 1] if grows else stages
        self.lines = [x for name in kept for x in (lines if name == stage else self.of(name))]
        end = max((x["step"] for x in lines), default=-1)
        known = [x for x in _read(self._times) if x["stage"] in stages and (x["stage"] != stage or x["step"] <= end)]
        times = sorted(known, key=lambda x: stages.index(x["stage"]))
        for path, wanted in ((self._metrics, self.lines), (self._times, times)) if self._writes else ():
            text = _text(wanted)
            if not path.exists() or path.read_bytes() != text.encode():
                write_text(path, text)

    def cut(self, stages: Sequence[str], stage: str, step: int) -> None:
        """Keeps earlier stages, and of this stage what lies at or before `step`."""
        self.put(stages, stage, [x for x in self.of(stage) if x["step"] <= step], grows=True)

    def add(self, lines: list[dict]) -> None:
        """Appends lines of measurements."""
        lines = [{k: _plain(v) for k, v in line.items()} for line in lines]
        self.lines += lines
        if self._writes and self._metrics.exists():
            append_lines(self._metrics, lines)
        elif self._writes:  # somebody has removed it
            write_text(self._metrics, _text(self.lines))

    def time(self, stage: str, step: int, **figures: float) -> None:
        """Appends a line of times."""
        if self._writes:
            append_lines(self._times, [{"stage": stage, "step": step, **{k: round(v, 4) for k, v in figures.items()}}])

    def of(self, stage: str) -> list[dict]:
        """The lines of one stage."""
        return [x for x in self.lines if x["stage"] == stage]


def _read(path: Path) -> list[dict]:
    return [x for x in read_lines(path) if isinstance(x.get("stage"), str) and isinstance(x.get("step"), int)]


def _text(lines: list[dict]) -> str:
    return "".join(json.dumps(x) + "\n" for x in lines)


def _plain(value: Any) -> Any:
    """Arrays as lists of floats; what is not finite as None, as JSON has no word for it."""
    if isinstance(value, float) or hasattr(value, "dtype"):
        value = np.asarray(value, np.float64).tolist()
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
