"""Maps of one size to those of another."""

import jax
import jax.numpy as jnp
import numpy as np


def average_pool(x: jax.Array, height: int, width: int) -> jax.Array:
    """Maps `[B, H, W, C]` averaged to `[B, height, width, C]`.

    Bin i of n averages the rows from `floor(i H / n)` up to, and not including, `ceil((i + 1) H / n)`; columns alike.
    Bins of unequal sizes may overlap.

    >>> average_pool(jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1), 2, 1).ravel()
    Array([1.5, 2.5], dtype=float32)
    """
    for axis, size in ((1, height), (2, width)):
        if x.shape[axis] != size:
            bins = jnp.asarray(_bins(x.shape[axis], size), x.dtype)
            x = jnp.moveaxis(jnp.tensordot(bins, x, axes=(1, axis), precision="highest"), 0, axis)
    return x


def match_sizes(student: jax.Array, teacher: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both maps `[B, H, W, C]` averaged to the smaller height and the smaller width of the two.

    >>> [x.shape for x in match_sizes(jnp.ones((1, 4, 2, 3)), jnp.ones((1, 2, 5, 7)))]
    [(1, 2, 2, 3), (1, 2, 2, 7)]
    """
    height, width = (min(student.shape[i], teacher.shape[i]) for i in (1, 2))
    return average_pool(student, height, width), average_pool(teacher, height, width)


def nearest_resize(x: jax.Array, height: int, width: int) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, height, width, C]`: pixel i of n is the old one at `floor(i H / n)`; columns alike.

    >>> nearest_resize(jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1), 2, 1).ravel()
    Array([1., 2.], dtype=float32)
    """
    for axis, size in ((1, height), (2, width)):
        if x.shape[axis] != size:
            x = jnp.take(x, np.arange(size) * x.shape[axis] // size, axis=axis)
    return x


def _bins(rows: int, bins: int) -> np.ndarray:
    i = np.arange(bins)[:, None]
    row = np.arange(rows)[None]
    inside = (row >= i * rows // bins) & (row < -(-(i + 1) * rows // bins))
    return inside / inside.sum(1, keepdims=True)
