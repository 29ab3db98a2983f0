"""What numbers a network may hold, whatever file they come from."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from kdjax.core import InputError


def as_weight(name: str, x: Any, path: str, want: Any) -> np.ndarray:
    """An array of a file as the net has it.

    Args:
      name: in the file, for the message.
      x: what the file holds.
      path: in the net; a leaf `var` is a variance.
      want: the array of the net, or its shape; `x` has its shape, and gets its dtype.

    Raises:
      InputError: for numbers of another kind, for NaN and infinity (also where they come of the dtype), for negative variances.

    >>> import jax
    >>> as_weight("bn.weight", np.float16([1, 2]), "params/bn/scale", jax.ShapeDtypeStruct((2,), np.float32)).dtype.name
    'float32'
    """
    x = np.asarray(x)
    kind, said = (jnp.floating, "floating numbers") if jnp.issubdtype(want.dtype, jnp.floating) else (jnp.integer, "whole numbers")
    if not jnp.issubdtype(x.dtype, kind):
        raise InputError(f"{name} is of type {x.dtype.name}: expected {said}")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = x.astype(want.dtype)
    if not np.all(np.isfinite(cast)):
        raise InputError(f"{name} holds numbers that are not finite")
    if path.rpartition("/")[2] == "var" and np.any(cast < 0):
        raise InputError(f"{name} holds negative variances")
    return cast
