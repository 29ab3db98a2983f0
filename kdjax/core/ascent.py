"""Optimisers that look at the gradient a little further up the hill."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from kdjax.core.check import InputError, check_option
from kdjax.core.updates import Ascending, length, told


def ascend(tx: optax.GradientTransformation, radius: Any) -> optax.GradientTransformationExtraArgs:
    """Sharpness-aware minimisation: the optimiser steps from `w` down the gradient of the loss at `w + radius g / |g|`.

    `|g|` is the length of the gradient of the global batch over all parameters together. The step costs two passes; statistics of
    batch norm and metrics are those of the first one. The optimiser has to be told optax's `value_fn`, as `core.learn` does.

    Args:
      tx: the optimiser, of all parameters: parts of them may be held or trained by another one only within it.
      radius: rho, 0 or more; 0 is `tx` itself.

    Raises:
      InputError: for another radius; at a step without `value_fn`.

    Reference: Foret, Kleiner, Mobahi and Neyshabur, Sharpness-Aware Minimization for Efficiently Improving Generalization, ICLR
    2021 (arXiv 2010.01412).

    >>> loss = lambda w: w**2
    >>> tx = ascend(optax.sgd(0.1), 0.5)
    >>> w = jnp.float32(1.0)
    >>> updates, _ = tx.update(jax.grad(loss)(w), tx.init(w), w, value_fn=loss)
    >>> print(f"{updates:.2f}")
    -0.30
    """
    check_option("ascent", radius, lambda r: 0 <= r < float("inf"), "a radius, 0 or more")
    tx = told(tx)
    if not isinstance(radius, Tracer) and radius == 0:
        return tx

    def update(updates, state, params=None, *, value_fn=None, **extra):
        if value_fn is None:
            raise InputError("an optimiser with an ascent needs the loss: expected value_fn, which core.learn gives it")
        norm = length(updates)
        share = radius / jnp.where(norm > 0, norm, 1.0)
        up = jax.tree.map(lambda p, g: (p + share * g).astype(p.dtype), params, updates)
        gradient = jax.grad(value_fn)(up)
        return tx.update(gradient, state, params, **extra | {"grad": gradient, "value_fn": value_fn})

    return Ascending(tx.init, update)
