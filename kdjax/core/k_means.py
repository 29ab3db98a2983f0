"""Clusters of directions."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.check import check_option
from kdjax.core.unit import unit

_BLOCK = 4096  # rows whose cosines with all centroids are in memory at a time


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
    check_option("iterations", iterations, lambda n: n >= 0, "a whole number, 0 or more")
    return _found(key, rows, clusters, iterations, jnp.ones(count, bool) if where is None else where)


@partial(jax.jit, static_argnums=(2, 3))
def _found(key: jax.Array, rows: jax.Array, clusters: int, iterations: int, kept: jax.Array) -> tuple[jax.Array, jax.Array]:
    count, width = rows.shape
    rows = jnp.where(kept[:, None], unit(rows.astype(jnp.float32)), 0.0)
    _, first = lax.top_k(jnp.where(kept, jax.random.uniform(key, (count,)), -1.0), clusters)

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
        return jnp.where(jnp.any(sums != 0, 1, keepdims=True), unit(sums), centroids), None

    centroids, _ = lax.scan(move, rows[first], length=iterations)
    return centroids, lax.map(partial(assign, centroids), blocks).reshape(-1)[:count]
