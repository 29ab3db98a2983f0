"""Class numbers as labels."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.check import InputError
from kdjax.core.shapes import Sizes, check_shapes


def class_numbers(labels: Any, sizes: Sizes | None = None, *, called: str = "labels") -> jax.Array:
    """Labels as integers (bool are those of two classes), one a position of `sizes`: `[...]`, else `[B]`; others are refused."""
    labels = jnp.asarray(labels)
    if labels.dtype == bool:  # of two classes
        labels = labels.astype(jnp.int32)
    wanted, name, shape = (sizes or {}).get("...", (None, "", ()))
    if wanted is None:
        check_shapes("B", sizes, **{called: labels})
    elif labels.shape != wanted:
        raise InputError(f"{called} has shape {labels.shape} but {name} has shape {shape}: expected class numbers {list(wanted)}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InputError(f"{called} has type {labels.dtype}: expected integer class numbers")
    return labels


def at_label(rows: jax.Array, labels: jax.Array) -> jax.Array:
    """The entry `[...]` of each row `[..., K]` at its class number; NaN for a number outside [0, K)."""
    # A negative index would count from the end: out of range is made visible instead.
    index = jnp.where(labels < 0, rows.shape[-1], labels.astype(jnp.int32))
    return jnp.take_along_axis(rows, index[..., None], axis=-1, mode="fill")[..., 0]


def class_mask(labels: jax.Array, classes: int) -> jax.Array:
    """Whether a class is the label's: bool `[..., K]`; nowhere for a number outside [0, K)."""
    numbers = jnp.arange(classes).reshape(*[1] * labels.ndim, classes)
    return labels[..., None].astype(jnp.int32) == numbers
