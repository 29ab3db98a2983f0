"""Positions that count, among all of logits `[..., K]`: those of a text without its padding, pixels without the void."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.check import InputError


def shown(where: Any, *logits: Any) -> tuple[jax.Array, ...]:
    """Arrays `[..., K]` with zeros at the positions that do not count, so that not even NaN there reaches a gradient.

    Args:
      where: bool `[...]`, or None: all count.
      *logits: the arrays.

    Raises:
      InputError: for another shape or dtype of `where`.
    """
    arrays = tuple(jnp.asarray(x) for x in logits)
    if where is None:
        return arrays
    kept = jnp.asarray(where)
    if kept.shape != arrays[0].shape[:-1] or kept.dtype != bool:
        raise InputError(f"where is {kept.dtype}{list(kept.shape)}: expected bool{list(arrays[0].shape[:-1])}, one a position")
    return tuple(jnp.where(kept[..., None], x, 0) for x in arrays)


def counted(values: jax.Array, where: Any) -> jax.Array:
    """Values `[...]` with 0 at the positions that do not count.

    >>> counted(jnp.array([1.0, jnp.nan]), jnp.array([True, False])).tolist()
    [1.0, 0.0]
    """
    return values if where is None else jnp.where(jnp.asarray(where), values, 0.0)
