"""What every loss does first: refuses bad options in one line, and widens what it reduces."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from kdjax.core.check import InputError, check_option


def check_number(name: str, value: Any, ok: Callable[[float], bool], accepted: str) -> None:
    """Refuses an option that is not one real number, or whose concrete value is not `ok`.

    A traced scalar passes, so that sweeps can `vmap` over it.
    """
    if isinstance(value, Tracer) and value.ndim:
        raise InputError(f"{name} has shape {value.shape}: expected {accepted}")

    def good(v: Any) -> bool:
        # NumPy on purpose: an operation of jax.numpy would be traced under jit, even on a concrete array.
        x = np.asarray(v)
        real = jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)
        return x.ndim == 0 and real and bool(ok(float(x)))

    check_option(name, value, good, accepted)


def check_positive(name: str, value: Any) -> None:
    """Refuses an option that is not a finite number above 0."""
    check_number(name, value, lambda v: 0 < v < math.inf, "a finite number above 0")


def temperatures(value: Any, rows: tuple[int, ...], name: str = "temperature") -> jax.Array:
    """A temperature in float32 or wider: one number, or, of an array that broadcasts with the rows, one a row `[...]`.

    Raises:
      InputError: for another shape, or a concrete value that is not finite and above 0.
    """
    if np.ndim(value) == 0:
        check_positive(name, value)
        return wide(value)
    shape = np.shape(value)
    try:
        fits = np.broadcast_shapes(shape, rows) == rows
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"{name} has shape {shape}: expected one number, or an array that broadcasts with {list(rows)}")
    if not isinstance(value, Tracer):
        each = np.asarray(value, np.float64)
        if not ((each > 0) & (each < math.inf)).all():
            raise InputError(f"{name} has values that are not accepted: expected finite numbers above 0")
    return jnp.broadcast_to(wide(value), rows)


def check_flag(name: str, value: Any) -> None:
    """Refuses an option that is neither True nor False."""
    check_option(name, value, lambda v: isinstance(v, bool), "True or False")


def wide(x: Any) -> jax.Array:
    """The array in float32 or wider, so that sums over bfloat16 inputs keep their digits; a Python number widens nothing."""
    x = jnp.asarray(float(x) if isinstance(x, int | float) else x)
    if x.weak_type and jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
