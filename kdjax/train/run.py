"""What all stages of an experiment share."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jax.sharding import Mesh

from kdjax.data import Source
from kdjax.train.records import Records


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
        validation accuracy, mean over members.
      splits: `test`, and where there are any `val` and `train`, as sources for evaluation.
      digest: of the data.
      mesh: devices with an axis `data` of type Auto, or None for one.
      cache: folder of finished stages that runs share, or None.
      stop: asked between blocks.
      say: shows one line.
      progress: `(stage, step, line of measurements)`, after every block.
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
    mesh: Mesh | None
    cache: Path | None
    stop: Callable[[], bool]
    say: Callable[[str], None]
    progress: Callable[[str, int, dict], None]
