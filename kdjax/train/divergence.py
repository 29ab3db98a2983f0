"""When training is lost: one line that names the measure, its value, and what is accepted."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kdjax.core import Learner

SLOWER = "lower the learning rate"


class Diverged(RuntimeError):  # noqa: N818
    """A stage is lost in all of its members: its loss or its weights are not finite, or an alarm ends it."""


def check_losses(name: str, step: int, line: Mapping[str, Any], saved: int) -> bool:
    """Whether the losses of all members are finite, those of the step whose names end in `loss`.

    Args:
      name: of the stage.
      step: which.
      line: metric -> values, one a member.
      saved: the step of the newest checkpoint, 0 where there is none.

    Raises:
      Diverged: where no member has none but finite ones.
    """
    losses = {measure: np.ravel(value) for measure, value in line.items() if measure.endswith("loss")}
    finite = [np.isfinite(values) for values in losses.values()]
    if finite and not np.any(np.all(finite, axis=0)):
        worst = next(measure for measure, values in losses.items() if not np.isfinite(values).all())
        value = next(x for x in losses[worst] if not np.isfinite(x))
        raise ended(f"{name} diverged: {worst} is {value:g} at step {step}, expected a finite number; {SLOWER}", saved)
    return bool(np.all(finite))


def check_weights(name: str, step: int, moving: Any, saved: int) -> None:
    """Refuses to save a State whose trained weights are not finite in any member, so that the newest checkpoint is a good one.

    Args:
      name: of the stage.
      step: which.
      moving: the State on the host, members stacked.
      saved: as above.

    Raises:
      Diverged: where no member has none but finite ones.
    """
    learners = [x for x in jax.tree.leaves(moving, is_leaf=_is_learner) if _is_learner(x)]
    arrays = jax.tree.leaves([x.params for x in learners])
    finite = [np.isfinite(x).reshape(len(x), -1).all(1) for x in arrays]
    if finite and not np.any(np.all(finite, axis=0)):
        raise ended(f"{name} diverged: its weights at step {step} are not finite; {SLOWER}", saved)


def ended(text: str, saved: int) -> Diverged:
    """The exception that says so, and what is kept.

    >>> print(ended("student diverged: loss is nan at step 40", 30))
    student diverged: loss is nan at step 40; the checkpoint of step 30 is kept
    """
    return Diverged(text + (f"; the checkpoint of step {saved} is kept" if saved else ""))


def _is_learner(x: Any) -> bool:
    return isinstance(x, Learner)
