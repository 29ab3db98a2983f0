"""What all stages of an experiment share."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from kdjax.core import InputError
from kdjax.data import Source
from kdjax.train.devices import Devices
from kdjax.train.processes import gathered
from kdjax.train.records import Records


class Stopped(Exception):  # noqa: N818
    """The run was asked to stop, has saved, and can be started again."""


class Run(NamedTuple):
    """What all stages of a run share.

    Attributes:
      folder: the run's folder.
      records: its records.
      seed: member i starts from seed + i.
      data_seed: seed of the order, of augmentation and, with shared batches, of noise.
      share: `"batch"`: members see the same batches and differ in their initialisation; `"none"`: everything differs.
      how: `"map"` or `"vmap"`.
      select: `"last"` or `"best"`, the step that results are taken at: the last one, or that of the saved ones with the best
        validation score, mean over members.
      splits: `test`, and where there are any `val` and `train`, as sources for evaluation.
      digest: of the data.
      devices: where it computes.
      cache: folder of finished stages that runs share, or None.
      stop: asked between blocks.
      say: shows one line.
      progress: `(stage, step, line of measurements)`, after every block.
      damaged: one line for every row that was skipped, as they are met.
      resident: whether all rows live on the devices; without it they are read ahead, batch by batch.
      corrupt: `"stop"` at a row that cannot be read, or `"skip"` it for the next one.
      workers: processes that read ahead; 0 reads with threads.
      threads: how many.
      test_curve: whether the score on test images is measured at every evaluation too, for the one at the best validation score.
    """

    folder: Path
    records: Records
    seed: int
    data_seed: int
    share: str
    how: str
    select: str
    splits: dict[str, Source]
    digest: str
    devices: Devices
    cache: Path | None
    stop: Callable[[], bool]
    say: Callable[[str], None]
    progress: Callable[[str, int, dict], None]
    damaged: set[str]
    resident: bool = True
    corrupt: str = "stop"
    workers: int = 0
    threads: int = 1
    test_curve: bool = False


def skips_damaged(run: Run) -> bool:
    """Whether reading steps over damaged rows: where the run says so, and with several processes, none of which may fall out of
    step; `name_damaged` then refuses for all of them."""
    return run.corrupt == "skip" or jax.process_count() > 1


def name_damaged(run: Run, lines: list[str]) -> None:
    """Names every damaged row once, or refuses the first one, on all processes; all must call it.

    Raises:
      InputError: where there is one and the run is to stop.
    """
    met = [line for own in gathered(lines) for line in own]
    if met and run.corrupt == "stop":
        raise InputError(f"{met[0]}; --config.data.corrupt=skip takes the next image instead")
    for line in met:
        if line not in run.damaged:
            run.damaged.add(line)
            run.say(f"{line}; the next image is taken instead")
