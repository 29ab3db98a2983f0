"""Clusters of points, and of directions."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.check import InputError, check_option
from kdjax.core.unit import unit

_BLOCK = 4096  # rows that are compared with all centroids at a time


def euclidean_k_means(rows: jax.Array, centroids: jax.Array, *, iterations: int = 10) -> tuple[jax.Array, jax.Array]:
    """Centroids at the mean of the rows that are nearest to them, and the nearest one of each row, by Euclidean distance.

    So many times each row goes to its nearest centroid, the first of equal ones, and each centroid to the mean of its rows; one
    without rows stays where it is. Then the rows are assigned once more.

    Args:
      rows: `[N, D]`.
      centroids: `[K, D]`, where they start; as a rule rows drawn without replacement.
      iterations: how many, at least 0.

    Returns:
      Centroids `[K, D]` and cluster numbers `[N]` int32.

    Raises:
      InputError: for other shapes or numbers.

    Reference: Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory 1982.

    >>> rows = jnp.array([[1.0], [2.0], [8.0]])
    >>> centroids, found = euclidean_k_means(rows, rows[1:])
    >>> centroids[:, 0].tolist(), found.tolist()
    ([1.5, 8.0], [0, 0, 1])
    """
    rows, centroids = jnp.asarray(rows), jnp.asarray(centroids)
    if rows.ndim != 2 or centroids.ndim != 2 or rows.shape[1] != centroids.shape[1] or not rows.size or not centroids.size:
        raise InputError(f"rows and centroids have shapes {rows.shape} and {centroids.shape}: expected [N, D] and [K, D]")
    _check_iterations(iterations)
    return _nearest(rows, centroids, iterations)


def spherical_k_means(
    key: jax.Array, rows: jax.Array, *, clusters: int, iterations: int = 10, where: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Centroids of length 1, and the one that each row has the largest cosine with.

    The first centroids are rows, drawn without replacement. So many times each row goes to its nearest centroid, and each centroid
    to the mean direction of its rows; one without rows stays where it is. Then the rows are assigned once more.

    Args:
      key: random key.
      rows: `[N, D]`, of any length.
      clusters: K, at most N.
      iterations: how many, at least 0.
      where: bool `[N]`, which rows take part; None: all. With fewer of them than clusters some centroids are zeros.

    Returns:
      Centroids `[K, D]` and cluster numbers `[N]` int32, -1 for a row that takes no part.

    Raises:
      InputError: for other numbers.

    Reference: Dhillon and Modha, Concept Decompositions for Large Sparse Text Data Using Clustering, Machine Learning 2001.

    >>> rows = jnp.array([[1.0, 0.0], [3.0, 0.1], [0.0, 2.0]])
    >>> _, found = spherical_k_means(jax.random.key(0), rows, clusters=2)
    >>> bool(found[0] == found[1]), bool(found[0] == found[2])
    (True, False)
    """
    count = len(rows)
    check_option("clusters", clusters, lambda k: 1 <= k <= count, f"1 to {count}, the number of rows")
    _check_iterations(iterations)
    return _alike(key, rows, clusters, iterations, jnp.ones(count, bool) if where is None else where)


@partial(jax.jit, static_argnums=2)
def _nearest(rows: jax.Array, centroids: jax.Array, iterations: int) -> tuple[jax.Array, jax.Array]:
    origin = jnp.mean(rows.astype(jnp.float32), axis=0, keepdims=True)  # near 0 the differences of squares lose less

    def pointed(x):
        """The point c as [c, -|c|^2 / 2]: its product with [x, 1] is the largest where |x - c| is the smallest."""
        return jnp.concatenate([x, -jnp.sum(x**2, 1, keepdims=True) / 2], 1)

    def settle(sums, old):
        count = sums[:, -1:]  # of the ones
        return jnp.where(count > 0, pointed(sums[:, :-1] / jnp.maximum(count, 1.0)), old)

    ones = jnp.concatenate([rows.astype(jnp.float32) - origin, jnp.ones((len(rows), 1))], 1)
    found, assigned = _lloyd(ones, jnp.ones(len(rows), bool), pointed(centroids.astype(jnp.float32) - origin), iterations, settle)
    return found[:, :-1] + origin, assigned


@partial(jax.jit, static_argnums=(2, 3))
def _alike(key: jax.Array, rows: jax.Array, clusters: int, iterations: int, kept: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = jnp.where(kept[:, None], unit(rows.astype(jnp.float32)), 0.0)
    _, first = lax.top_k(jnp.where(kept, jax.random.uniform(key, (len(rows),)), -1.0), clusters)

    def settle(sums, old):
        return jnp.where(jnp.any(sums != 0, 1, keepdims=True), unit(sums), old)

    return _lloyd(rows, kept, rows[first], iterations, settle)


def _lloyd(
    rows: jax.Array, kept: jax.Array, centroids: jax.Array, iterations: int, settle: Callable
) -> tuple[jax.Array, jax.Array]:
    """Each row goes to the centroid it has the largest product with; `settle(sums of their rows, centroids)` moves them."""
    (count, width), clusters = rows.shape, len(centroids)
    size = min(_BLOCK, count)
    fill = -count % size
    blocks = jnp.pad(rows, ((0, fill), (0, 0))).reshape(-1, size, width), jnp.pad(kept, (0, fill)).reshape(-1, size)

    def assign(centroids, block):
        x, there = block
        return jnp.where(there, jnp.argmax(jnp.dot(x, centroids.T, precision="highest"), 1), -1).astype(jnp.int32)

    def move(centroids, _):
        def add(sums, block):
            members = jax.nn.one_hot(assign(centroids, block), clusters, axis=0)  # none of -1
            return sums + jnp.dot(members, block[0], precision="highest"), None

        sums, _ = lax.scan(add, jnp.zeros_like(centroids), blocks)
        return settle(sums, centroids), None

    centroids, _ = lax.scan(move, centroids, length=iterations)
    return centroids, lax.map(partial(assign, centroids), blocks).reshape(-1)[:count]


def _check_iterations(iterations: int) -> None:
    check_option("iterations", iterations, lambda n: n >= 0, "a whole number, 0 or more")
