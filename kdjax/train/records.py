"""What a run leaves on disk while it goes: measurements as JSON lines, times in a file of their own."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.core.files import append_lines, read_lines, write_text
from kdjax.train.processes import primary


class Records:
    """`metrics.jsonl` and `times.jsonl` of one run.

    A line is `{"stage", "step", ...}` with one value a member. Lines behind the checkpoint that a run resumes from are cut off, so
    that a run killed anywhere ends with the same file as one that was not. Of several processes only the first writes.
    """

    def __init__(self, folder: Path):
        self._metrics, self._times = folder / "metrics.jsonl", folder / "times.jsonl"
        self._writes = primary()
        self.lines = read_lines(self._metrics)

    def cut(self, stages: list[str], stage: str, step: int) -> None:
        """Keeps earlier stages, and of this stage what lies at or before `step`."""
        earlier = stages[: stages.index(stage)]

        def kept(lines):
            return [x for x in lines if x["stage"] in earlier or (x["stage"] == stage and x["step"] <= step)]

        for path in (self._metrics, self._times) if self._writes else ():
            write_text(path, "".join(_dumped(x) for x in kept(read_lines(path))))
        self.lines = kept(self.lines)

    def add(self, lines: list[dict]) -> None:
        """Appends lines of measurements."""
        lines = [{k: _plain(v) for k, v in line.items()} for line in lines]
        if self._writes:
            append_lines(self._metrics, lines)
        self.lines += lines

    def time(self, stage: str, step: int, **figures: float) -> None:
        """Appends a line of times."""
        if self._writes:
            append_lines(self._times, [{"stage": stage, "step": step, **{k: round(v, 4) for k, v in figures.items()}}])

    def of(self, stage: str) -> list[dict]:
        """The lines of one stage."""
        return [x for x in self.lines if x["stage"] == stage]


def _plain(value: Any) -> Any:
    """Arrays as lists of floats; what is not finite as None, as JSON has no word for it."""
    if isinstance(value, float) or hasattr(value, "dtype"):
        value = np.asarray(value, np.float64).tolist()
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _dumped(line: dict) -> str:
    return json.dumps(line) + "\n"
