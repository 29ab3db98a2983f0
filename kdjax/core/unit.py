"""Directions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

_SHORT = 1e-12  # lengths are at least this, as in the peers' normalisation


def unit(x: jax.Array, axis: int | Sequence[int] = -1) -> jax.Array:
    """`x / max(|x|, 1e-12)` over `axis`; a vector of zeros stays zero and has gradient 0.

    >>> unit(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    Array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """
    size = lax.stop_gradient(jnp.max(jnp.abs(x), axis=axis, keepdims=True))
    live = size > 0
    # In units of the largest entry no square overflows or is lost. A dead vector has a constant in its place all the way: a
    # `where` outside alone would leave NaN, or 1e12, in the gradient.
    x = jnp.where(live, x / jnp.where(live, size, 1.0), 0.0)
    length = jnp.sqrt(jnp.where(live, jnp.sum(x**2, axis=axis, keepdims=True), 1.0))
    return x / jnp.maximum(length, _SHORT / jnp.where(live, size, 1.0))
