"""Factors of what peers ask of each other, which is worth little at first."""

from collections.abc import Callable

import jax

from kdjax.core import check_count, check_option, sigmoid_rampup
from kdjax.core.arrays import Weight
from kdjax.core.terms import weight_at


def ramped(weight: Weight, warmup_epochs: int, steps_per_epoch: int) -> Callable[[jax.Array], jax.Array]:
    """`weight exp(-5 (1 - min(e / warmup_epochs, 1))^2)` in epoch e, from 0, as a function of the step.

    Args:
      weight: 0 or more, or a function of the step.
      warmup_epochs: 0: the whole weight from the beginning.
      steps_per_epoch: of the run.

    >>> [round(float(ramped(2.0, 10, 5)(step)), 3) for step in (0, 4, 25, 100)]
    [0.013, 0.013, 0.573, 2.0]
    >>> float(ramped(lambda step: step / 50, 10, 5)(100))
    2.0
    """
    if not callable(weight):
        check_option("weight", weight, lambda w: w >= 0, "a number, 0 or more")
    check_option("warmup_epochs", warmup_epochs, lambda n: n >= 0, "a number of epochs, or 0")
    check_count(steps_per_epoch=steps_per_epoch)
    return lambda step: weight_at(weight, step) * sigmoid_rampup(step // steps_per_epoch, warmup_epochs)
