"""Training: members, compiled blocks, stages, checkpoints, records."""

from kdjax.train.checkpoint import Checkpoints
from kdjax.train.load import load
from kdjax.train.loop import Diverged, Stopped, run_stages
from kdjax.train.members import HOW, over_members, resolve, stack, unstack
from kdjax.train.records import Records
from kdjax.train.run import Run
from kdjax.train.stage import Pace, Result, Stage
from kdjax.train.sweep import Swept, sweep

__all__ = [
    "HOW", "Checkpoints", "Diverged", "Pace", "Records", "Result", "Run", "Stage", "Stopped", "Swept", "load", "over_members",
    "resolve", "run_stages", "stack", "sweep", "unstack",
]  # fmt: skip
