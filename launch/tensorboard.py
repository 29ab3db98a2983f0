"""TensorBoard events, where the package tensorboardX is installed (the extra `tensorboard`); without it nothing happens.

Events are derived from the lines of metrics.jsonl, which are the truth: where those were cut back, events are written anew.
"""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np


class Events:
    """The events of a run in `<run>/tensorboard`.

    Tags are `stage/measure`, the same in the folder `mean` and, where there are several members, in `member0`, `member1`, ...; so
    TensorBoard draws them into one chart. A point that is not finite is left out.

    Args:
      folder: the run's.
      on: False on all processes but the one that writes.
    """

    def __init__(self, folder: Path, *, on: bool = True):
        self._folder = folder / "tensorboard"
        self._on = on and importlib.util.find_spec("tensorboardX") is not None
        self._writers: dict[str, Any] = {}
        self._count, self._last = -1, None  # lines written, and the last of them; none looked at yet

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._close()

    def follow(self, lines: list[dict]) -> None:
        """Brings events up to the lines of metrics.jsonl so far."""
        if not self._on:
            return
        if self._count < 0 or len(lines) < self._count or (self._count and lines[self._count - 1] != self._last):
            self._close()
            shutil.rmtree(self._folder, ignore_errors=True)
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
                self._writer("plots").add_image(path.stem, np.asarray(image.convert("RGB")), 0, dataformats="HWC")
        self._close()

    def _add(self, line: dict) -> None:
        for measure, value in line.items():
            if measure in ("stage", "step", "epoch"):
                continue
            members = np.array(np.ravel(value), float)
            points = {"mean": members.mean()} | {f"member{i}": v for i, v in enumerate(members) if len(members) > 1}
            for where, point in points.items():
                if np.isfinite(point):
                    self._writer(where).add_scalar(f"{line['stage']}/{measure}", point, line["step"])

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            from tensorboardX import SummaryWriter

            # The purge tells a TensorBoard that is looking on to forget what it has read of this folder.
            self._writers[name] = SummaryWriter(str(self._folder / name), purge_step=0, flush_secs=10)
        return self._writers[name]

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
