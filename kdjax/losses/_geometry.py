"""Pieces that the losses on features and relations share: directions, and roots with gradient 0 at 0."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core import collectives

# Lengths are at least this, as in the peers' normalisation.
_SHORT = 1e-12


def absolute(x: jax.Array) -> jax.Array:
    """`|x|`, with gradient 0 at 0, where `jnp.abs` has 1: flat images and dead features are not pushed anywhere."""
    return x * lax.stop_gradient(jnp.sign(x))


def unit(x: jax.Array, axis: int | Sequence[int]) -> jax.Array:
    """`x / max(|x|, 1e-12)` over `axis`; a vector of zeros stays zero and has gradient 0.

    >>> unit(jnp.array([[3.0, 4.0], [0.0, 0.0]]), axis=1)
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


def shrink(x: jax.Array) -> jax.Array:
    """Each example divided by its largest magnitude, a constant to the gradient.

    For functions that do not depend on an example's scale: powers of it can then not overflow. Value and gradient are
    those without it.
    """
    size = lax.stop_gradient(jnp.max(jnp.abs(x), axis=tuple(range(1, x.ndim)), keepdims=True))
    return x / jnp.where(size > 0, size, 1.0)


def beyond_rounding(mean_square: jax.Array, size: jax.Array) -> jax.Array:
    """Whether numbers around `size` differ, in the mean square, by more than their rounding does."""
    return mean_square > (4 * jnp.finfo(mean_square.dtype).eps * size) ** 2


def root(x: jax.Array) -> jax.Array:
    """`sqrt(x)` of numbers that are at least 0, with gradient 0 at 0."""
    live = x > 0
    return jnp.where(live, jnp.sqrt(jnp.where(live, x, 1.0)), 0.0)


def off_diagonal(x: jax.Array, axis_name: str | None) -> jax.Array:
    """Relations `[b, B]` with 0 for each row's relation to itself."""
    mine = collectives.offset(len(x), axis_name) + jnp.arange(len(x))
    return jnp.where(mine[:, None] == jnp.arange(x.shape[1])[None], 0.0, x)
