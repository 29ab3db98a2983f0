"""Stochastic depth: the branches of residual nets that rows leave out in training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError, check_option
from kdjax.core.keys import row_keys


class DropPath(NamedTuple):
    """Which rows take a branch: `x + put(branch(take(x)))`.

    Attributes:
      take: the rows `[k, ...]` that the branch sees, of `[B, ...]`.
      put: what the branch made of them, `[k, ...]`, to what is added to `[B, ...]`: 0 for those that leave it out.
      back: other outputs of the branch, as they are, in the places of their rows.
    """

    take: Callable[[jax.Array], jax.Array]
    put: Callable[[jax.Array], jax.Array]
    back: Callable[[jax.Array], jax.Array]


def drop_path(module: nn.Module, rows: int, rate: Any, *, exact: bool = False, train: bool, axis_name: AxisName = None) -> DropPath:
    """Draws which rows of a batch leave out a branch, each with a chance of its own, or exactly so many.

    In training a row keeps the branch with the chance 1 - rate, and what is kept is divided by that; each row has a key of its
    global number, so that one device and many draw alike. `exact`: k = round(B (1 - rate)) rows, at least one, are chosen at
    random, the branch is computed for them alone, and what it adds counts B / k: the same in the mean, and less to compute.

    Args:
      module: that draws, from its stream "dropout".
      rows: B.
      rate: from 0 to below 1; 0: nothing is left out or drawn.
      exact: whether just k rows take the branch; they are chosen among all rows of a batch, so that there is no mapped axis.
      train: whether anything is left out.
      axis_name: mapped axis that holds the batch, or None.

    Raises:
      InputError: without a key to draw from, and for `exact` along a mapped axis.

    Reference: Huang, Sun, Liu, Sedra, Weinberger, Deep Networks with Stochastic Depth, ECCV 2016 (arXiv 1603.09382); exactly so
    many rows: Touvron et al., Co-training 2^L Submodels for Visual Recognition, CVPR 2023 (arXiv 2212.04884).
    """
    if not (train and rate):
        return DropPath(*(lambda x: x,) * 3)
    if not module.has_rng("dropout"):
        raise InputError("drop_path above 0 draws in training: expected apply(..., train=True, key=key)")
    key = module.make_rng("dropout")
    if not exact:
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate))(row_keys(key, rows, axis_name))

        def scaled(x):
            return x * (kept.astype(x.dtype) / (1 - rate)).reshape(-1, *(1,) * (x.ndim - 1))

        return DropPath(lambda x: x, scaled, lambda x: x)
    if axis_name is not None:
        raise InputError("drop_path_exact=True chooses among all rows of a batch: expected no mapped axis, --config.parallel=jit")
    count = max(round(rows * (1 - rate)), 1)
    chosen = jax.random.permutation(key, rows)[:count]

    def back(x):
        return jnp.zeros((rows, *x.shape[1:]), x.dtype).at[chosen].set(x)

    return DropPath(lambda x: x[chosen], lambda x: back(x * (rows / count)), back)


def check_drop_path(rate: float) -> None:
    """Refuses a chance to leave out a branch that is none."""
    check_option("drop_path", rate, lambda p: 0 <= p < 1, "a number from 0 to below 1")
