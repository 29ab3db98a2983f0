"""Rows that count, among all of a batch or of logits `[..., K]`: those of a text without its padding, pixels without the void."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core import collectives
from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError


def shown(where: Any, *arrays: Any, axes: int | None = None) -> tuple[jax.Array, ...]:
    """Arrays with zeros at the rows that do not count, so that not even NaN there reaches a gradient.

    Args:
      where: bool, one a row, or None: all count.
      *arrays: the arrays, all with the axes of rows in front.
      axes: how many axes in front are rows; None: all but the last of the first array.

    Raises:
      InputError: for another shape or dtype of `where`.
    """
    some = tuple(jnp.asarray(x) for x in arrays)
    if where is None:
        return some
    kept = jnp.asarray(where)
    rows = some[0].shape[: some[0].ndim - 1 if axes is None else axes]
    if kept.shape != rows or kept.dtype != bool:
        raise InputError(f"where is {kept.dtype}{list(kept.shape)}: expected bool{list(rows)}, one a row")
    return tuple(jnp.where(jnp.expand_dims(kept, tuple(range(kept.ndim, x.ndim))), x, jnp.zeros((), x.dtype)) for x in some)


def counted(values: jax.Array, where: Any) -> jax.Array:
    """Values `[...]` with 0 at the rows that do not count.

    >>> counted(jnp.array([1.0, jnp.nan]), jnp.array([True, False])).tolist()
    [1.0, 0.0]
    """
    return values if where is None else jnp.where(jnp.asarray(where), values, 0.0)


def mean_of_each(x: jax.Array, where: Any) -> jax.Array:
    """The mean of each example `[B, ..., C] -> [B]` over the positions `[B, ...]` that count; 0 where none does.

    >>> mean_of_each(jnp.array([[[1.0], [5.0]]]), jnp.array([[True, False]])).tolist()
    [1.0]
    """
    axes = tuple(range(1, x.ndim))
    if where is None:
        return jnp.mean(x, axis=axes)
    kept = jnp.broadcast_to(jnp.asarray(where)[..., None], x.shape)
    return jnp.sum(jnp.where(kept, x, 0.0), axis=axes) / jnp.maximum(jnp.sum(kept, axis=axes), 1).astype(x.dtype)


def pairs(where: Any, axis_name: AxisName) -> jax.Array | None:
    """Which pairs of this device's rows with all rows count, bool `[b, B]`: those of two rows that do; None: all."""
    if where is None:
        return None
    kept = jnp.asarray(where)
    return kept[:, None] & collectives.gather(kept, axis_name)[None]
