"""The stage of a net that learns a task from its labels."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kdjax import data
from kdjax.evaluate.classifier import classification
from kdjax.evaluate.measure import all_of
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.tasks import Task
from kdjax.train import Stage


def task_stage(c: ClassifierContext, source: Task, measures: Sequence[Callable] = (), **fields: Any) -> dict[str, Stage]:
    """The stage of a net that learns a task; its accuracy is that on this task.

    Args:
      c: of the net; its name is that of the stage.
      source: the task.
      measures: further ones.
      **fields: of `Stage`.
    """
    size, images = source.train.size, c.config.data
    steps = data.epoch_steps(size, min(images.batch, size), keep_last=images.keep_last_batch)
    specification = {**c.specification, "classes": source.classes}
    c = replace(c, source=source.train, specification=specification, steps_per_epoch=steps)
    name, digest = source.name, source.digest

    def own(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        _ = digest  # held by the closure, it is a part of what the measure is
        return classification(collect, f"{name}/{split}", final) if final else {}

    return c.stage(evaluate=all_of(own, *measures), optional=True, **fields)
