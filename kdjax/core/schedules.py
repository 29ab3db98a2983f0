"""Factors that grow, fall or return over a run."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from kdjax.core.check import check_count, check_option


def linear_warmup(step: jax.Array | int, steps: int) -> jax.Array:
    """`min(step / steps, 1)`: the factor of a loss that is faded in; 1 where `steps` is 0.

    >>> float(linear_warmup(5, 20))
    0.25
    """
    return jnp.minimum(jnp.asarray(step, jnp.float32) / max(steps, 1), 1.0) if steps else jnp.float32(1.0)


def sigmoid_rampup(epoch: jax.Array | int, length: int) -> jax.Array:
    """`exp(-5 (1 - min(epoch / length, 1))^2)`: from 0.0067 to 1 in the first `length` epochs; 1 where `length` is 0.

    Reference: Laine, Aila, Temporal Ensembling for Semi-Supervised Learning, ICLR 2017 (arXiv 1610.02242); ONE, FFL and OKDDip
    have it too.

    >>> [round(float(sigmoid_rampup(k, 80)), 4) for k in (0, 40, 80)]
    [0.0067, 0.2865, 1.0]
    """
    return jnp.exp(-5.0 * (1.0 - linear_warmup(epoch, length)) ** 2)


def cyclic(epoch: jax.Array | int, epochs: int, *, factor: float) -> jax.Array:
    """How easy an epoch is: 1 in the first one, 0 after a `factor`-th of all `epochs`, and from there back to 1 in the last one.

        1 - f e / (E - 1)  while f e < E,   then  (f e / (E - 1) - 1) / (f - 1),   kept in [0, 1]

    With a factor of 1 it only falls. What goes from one value at the ends to another in the middle is
    `eta * easy + (1 - eta) * hard`.

    Args:
      epoch: e, from 0 to E - 1.
      epochs: E, 1 or more.
      factor: f, at least 1.

    Raises:
      InputError: for options out of range.

    Reference: Smith, General Cyclical Training of Neural Networks, 2022 (arXiv 2202.08835).

    >>> [round(float(cyclic(e, 9, factor=2.0)), 2) for e in (0, 2, 4, 6, 8)]
    [1.0, 0.5, 0.0, 0.5, 1.0]
    """
    check_count(epochs=epochs)
    check_option("factor", factor, lambda f: 1 <= f < float("inf"), "a finite number, at least 1")
    e = factor * jnp.asarray(epoch, jnp.float32)
    there = e / max(epochs - 1, 1)
    back = (there - 1.0) / jnp.maximum(factor - 1.0, 1e-6)
    return jnp.clip(jnp.where(e < epochs, 1.0 - there, back), 0.0, 1.0)


def cyclic_schedule(
    name: str, span: Sequence[Any], *, steps_per_epoch: int, epochs: int, cycle: float = 2.0
) -> Callable[[jax.Array | int], jax.Array]:
    """A number as a function of the step, which is the least at the ends of a run and the largest where `cyclic` is 0.

    `hi + eta (lo - hi)` with `eta = cyclic(step // steps_per_epoch, epochs, factor=cycle)`; where both are the same, a constant.

    Args:
      name: of the number, for messages.
      span: `(lo, hi)`.
      steps_per_epoch: of the run.
      epochs: of the run.
      cycle: the factor of `cyclic`, at least 1.

    Raises:
      InputError: for what is no pair of numbers, the smaller one first, or other options out of range.

    >>> decay = cyclic_schedule("decay", (1.0, 3.0), steps_per_epoch=2, epochs=5)
    >>> [float(decay(step)) for step in (0, 1, 2, 4, 9)]
    [1.0, 1.0, 2.0, 3.0, 1.0]
    """
    check_count(steps_per_epoch=steps_per_epoch)
    check_option("cycle", cycle, lambda c: 1 <= c < float("inf"), "a finite number, at least 1")
    check_count(epochs=epochs)
    traced = any(isinstance(end, Tracer) for end in span)
    fits = lambda s: len(s) == 2 and (traced or 0 <= s[0] <= s[1] < float("inf"))  # noqa: E731
    check_option(name, tuple(span), fits, "(min, max) with 0 <= min <= max")
    low, high = span

    def at(step):
        return high + cyclic(jnp.asarray(step) // steps_per_epoch, epochs, factor=cycle) * (low - high)

    return at
