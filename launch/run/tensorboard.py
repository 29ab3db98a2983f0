"""TensorBoard events, where the package tensorboardX is installed (the extra `tensorboard`); without it nothing happens.

Events are derived from the lines of metrics.jsonl, which are the truth: where those were cut back, events are written anew.
"""

import importlib.util
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.core.files import naming, remove
from kdjax.train.sweep import members_by_point


class Events:
    """The events of a run in `<run>/tensorboard`.

    Tags are `stage/measure`, the same in the folder `mean` and, where there are several members, in `member0`, `member1`, ...; so
    TensorBoard draws them into one chart. A stage with a sweep has a mean for each point, `mean_learning_rate=0.1`. What is not
    finite is left out.

    Args:
      folder: the run's.
      on: False on all processes but the one that writes.
      stages: of the run, for those that have a sweep.
    """

    def __init__(self, folder: Path, *, on: bool = True, stages: Mapping[str, Any] = {}):
        self._means = {
            name: [
                ("_".join(["mean", *(f"{k}={v:g}" for k, v in point.items())]), own) for point, own in members_by_point(stage.hyper)
            ]
            for name, stage in stages.items()
            if stage.hyper
        }
        self._folder = folder / "tensorboard"
        self._on = on and importlib.util.find_spec("tensorboardX") is not None
        self._writers: dict[str, Any] = {}
        self._count, self._last = -1, None  # lines written, and the last of them; none looked at yet

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        with suppress(OSError) if kind else nullcontext():  # of a disk that is full one error is enough
            self._close()

    def follow(self, lines: list[dict]) -> None:
        """Brings events up to the lines of metrics.jsonl so far."""
        if not self._on:
            return
        if self._count < 0 or len(lines) < self._count or (self._count and lines[self._count - 1] != self._last):
            self._close()
            remove(self._folder)
            self._count = 0
        for line in lines[self._count :]:
            self._add(line)
        self._count, self._last = len(lines), lines[-1] if lines else None

    def show(self, plots: Path) -> None:
        """Adds all images of a folder, each under its name, and ends."""
        if not self._on:
            return
        from PIL import Image

        for path in sorted(plots.glob("*.png")):
            with Image.open(path) as image:
                self._writer("plots").image(path.stem, np.asarray(image.convert("RGB")))
        self._close()

    def _add(self, line: dict) -> None:
        for measure, value in line.items():
            if measure in ("stage", "step", "epoch", "alarms"):
                continue
            members = np.array(np.ravel(value), float)
            means = {name: members[own].mean() for name, own in self._means.get(line["stage"], ()) if len(members) > max(own)}
            points = (means or {"mean": members.mean()}) | {f"member{i}": v for i, v in enumerate(members) if len(members) > 1}
            for where, point in points.items():
                if np.isfinite(point):
                    self._writer(where).point(f"{line['stage']}/{measure}", point, line["step"])

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            self._writers[name] = _File(self._folder / name)
        return self._writers[name]

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


class _File:
    """A file of events. tensorboardX's own writer waits for ever once its thread has met a full disk; this one raises OSError."""

    def __init__(self, folder: Path):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        self._folder, self._flushed = folder, 0.0
        with naming(folder):
            for place in (folder.parent, folder):  # and not the run's own, which may have been removed
                place.mkdir(exist_ok=True)
            self._file = EventsWriter(str(folder / "events"))
        # It tells a TensorBoard that is looking on to forget what it has read of this folder.
        self._write(0, session_log=SessionLog(status=SessionLog.START))

    def point(self, tag: str, value: float, step: int) -> None:
        from tensorboardX.summary import scalar

        self._write(step, summary=scalar(tag, value))

    def image(self, tag: str, pixels: np.ndarray) -> None:
        from tensorboardX.summary import image

        self._write(0, summary=image(tag, pixels, dataformats="HWC"))

    def close(self) -> None:
        with naming(self._folder):
            self._file.close()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

        with naming(self._folder):
            self._file.write_event(Event(step=step, wall_time=time.time(), **content))
            if time.monotonic() - self._flushed > 10:
                self._file.flush()
                self._flushed = time.monotonic()
