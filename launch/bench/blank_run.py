"""A run without records, seeds and splits, for what the training loop asks of one."""

from pathlib import Path

from kdjax.train import Records, Run
from kdjax.train.devices import Devices


def blank_run(folder: Path, devices: Devices) -> Run:
    """A run whose files would lie in a folder, which is made."""
    folder.mkdir(exist_ok=True)
    return Run(
        folder=folder, records=Records(folder), seed=0, data_seed=0, share="batch", how="map", select="last", splits={},
        digest="", devices=devices, cache=None, stop=lambda: False, say=lambda _: None, progress=lambda *_: None, damaged=set(),
    )  # fmt: skip
