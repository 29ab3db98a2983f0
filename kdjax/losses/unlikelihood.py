"""How far a network is from not predicting the label."""

import math

import jax
import jax.numpy as jnp

from kdjax.core.arrays import ArrayLike
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, wide
from kdjax.losses._labels import class_mask, class_numbers
from kdjax.losses._positions import counted, shown
from kdjax.losses._softmax import log_except


def unlikelihood(logits: ArrayLike, labels: ArrayLike, *, floor: ArrayLike = 1e-8, where: ArrayLike | None = None) -> jax.Array:
    """The surprise at any class but the label: small where the network is wrong.

        -log(1 - p_y + floor),   p = softmax(logits)

    computed from the logits of the other classes, so that it keeps its digits, and its gradient, where p_y is near 1.

    Args:
      logits: `[..., K]`, two classes or more.
      labels: class numbers `[...]` (an integer type).
      floor: above 0; it bounds the value by `-log(floor)`.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats. Rows of a label outside [0, K) are NaN.

    Raises:
      InputError: for other shapes, labels that are not integers, or a floor that is not a number above 0.

    Reference:
      Shao et al., "Teaching What You Should Teach: A Data-Based Distillation Method", IJCAI 2023, arXiv 2212.05422, whose augmented
      images are to be hard for the student.

    >>> print(f"{unlikelihood(jnp.zeros((1, 4)), jnp.array([2]))[0]:.4f}")  # -log 3/4
    0.2877
    """
    labels = class_numbers(labels, check_shapes("... K", logits=logits))
    check_number("floor", floor, lambda v: 0 < v < math.inf, "a number above 0")
    logits, labels = shown(where, wide(logits), labels)
    mine = class_mask(labels, logits.shape[-1])
    others = log_except(logits, mine)
    found = jnp.where(jnp.any(mine, -1), -jnp.logaddexp(others, jnp.log(jnp.asarray(floor, logits.dtype))), jnp.nan)
    return counted(found, where)
