"""Pieces that the losses on features and relations share: directions, and roots with gradient 0 at 0."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from kdjax.core import collectives
from kdjax.core.arrays import AxisName
from kdjax.core.mesh import placed


def absolute(x: jax.Array) -> jax.Array:
    """`|x|`, with gradient 0 at 0, where `jnp.abs` has 1: flat images and dead features are not pushed anywhere."""
    return x * lax.stop_gradient(jnp.sign(x))


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


def off_diagonal(x: jax.Array, axis_name: AxisName, fill: float = 0.0) -> jax.Array:
    """Relations `[b, B]` with `fill` for each row's relation to itself."""
    mine = collectives.offset(len(x), axis_name) + jnp.arange(len(x))
    return jnp.where(mine[:, None] == jnp.arange(x.shape[1])[None], fill, x)


def products(a: jax.Array, b: jax.Array, axis_name: AxisName) -> jax.Array:
    """`a' b` over the rows of the global batch: `[B, D], [B, E] -> [D, E]`, in full float32 on every device."""
    # A mesh of Explicit axes asks where a sum over its rows is to lie.
    sharding, spec = placed(a)
    out = sharding.update(spec=P(None, None)) if any(spec) else None
    return collectives.psum(jnp.einsum("bi,bj->ij", a, b, precision="highest", out_sharding=out), axis_name)
