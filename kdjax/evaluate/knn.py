"""Weighted nearest neighbours: what frozen features know, without any training.

Arrays of other shapes raise `InputError`.
"""

from functools import partial

import jax
import jax.numpy as jnp

from kdjax.core.check import check_option
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.evaluate.classification import top_k

DISTANCES = ("cosine", "euclidean")


def nearest(
    features: jax.Array, queries: jax.Array, *, k: int, distance: str = "cosine", chunk: int = 256
) -> tuple[jax.Array, jax.Array]:
    """The k rows that are nearest to each query, the nearest first.

    Args:
      features: the rows to look among, `[N, D]`.
      queries: `[M, D]`.
      k: how many, 1 to N.
      distance: `"cosine"`, of rows and queries of length 1, or `"euclidean"`, of both as they are.
      chunk: queries compared at a time; bounds the memory to `chunk * N` numbers and does not change the result.

    Returns:
      `(nearness, rows)`: the cosine, or minus the distance, float32 `[M, k]`, and the numbers of the rows, int32 `[M, k]`.

    Raises:
      InputError: when an option is out of range.

    >>> near, rows = nearest(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[0.0, 3.0]]), k=2)
    >>> near.tolist(), rows.tolist()
    ([[1.0, 0.0]], [[1, 0]])
    """
    check_shapes("M D", check_shapes("N D", features=features), queries=queries)
    _check(features.shape[0], k, distance, chunk)
    return _nearest(features, queries, k=k, distance=distance, chunk=chunk)


def knn_scores(
    features: jax.Array,
    labels: jax.Array,
    queries: jax.Array,
    *,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
    distance: str = "cosine",
    chunk: int = 256,
) -> jax.Array:
    """Class scores of the queries by a weighted vote of their k nearest neighbours.

    With all rows normalised to length 1 and s = query . feature, the score of class c is the sum over the k largest s
    of exp(s / temperature) [label = c], divided by the sum over all classes. By Euclidean distance d, of rows as they are, a
    neighbour counts 1 / (d + 1e-5) instead.

    Args:
      features: rows with known labels, `[N, D]`.
      labels: their labels, integers `[N]`, 0 to `classes - 1`.
      queries: rows to classify, `[M, D]`.
      classes: the number of classes.
      k: the number of neighbours, 1 to N.
      temperature: above 0; the smaller, the more the nearest neighbours count. Not used by Euclidean distance.
      distance: `"cosine"` or `"euclidean"`.
      chunk: queries compared at a time; bounds the memory to `chunk * N` numbers and does not change the result.

    Returns:
      Scores `[M, classes]`, float32; a row sums to 1.

    Raises:
      InputError: when an option is out of range.

    Reference:
      Zhirong Wu, Yuanjun Xiong, Stella X. Yu, Dahua Lin, "Unsupervised Feature Learning via Non-Parametric Instance
      Discrimination", CVPR 2018, arXiv:1805.01978; k = 20 as in Mathilde Caron and others, "Emerging Properties in
      Self-Supervised Vision Transformers", ICCV 2021, arXiv:2104.14294; Euclidean votes as in the solo-learn library (Victor
      G. Turrisi da Costa and others, "solo-learn: A Library of Self-supervised Methods for Visual Representation Learning",
      JMLR 2022, arXiv:2108.01775).

    >>> features = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> knn_scores(features, jnp.array([0, 1]), jnp.array([[3.0, 0.1]]), classes=2, k=1).tolist()
    [[1.0, 0.0]]
    """
    sizes = check_shapes("N D", features=features)
    check_shapes("N", sizes, labels=labels)
    check_shapes("M D", sizes, queries=queries)
    _check(features.shape[0], k, distance, chunk)
    check_option("temperature", temperature, lambda t: t > 0, "a number above 0")
    check_option("classes", classes, lambda n: n >= 1, "1 or more")
    near, rows = _nearest(features, queries, k=k, distance=distance, chunk=chunk)
    return _votes(near, labels[rows], temperature, classes=classes, distance=distance)


def knn_accuracy(
    features: jax.Array,
    labels: jax.Array,
    queries: jax.Array,
    query_labels: jax.Array,
    *,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
    distance: str = "cosine",
    chunk: int = 256,
) -> jax.Array:
    """The part of the queries whose highest score in `knn_scores` is that of their label (top-1).

    Args:
      features: rows with known labels, `[N, D]`.
      labels: their labels `[N]`.
      queries: rows to classify, `[M, D]`.
      query_labels: the right answers `[M]`.
      classes: as in `knn_scores`, like the other options.
      k: neighbours.
      temperature: of the vote.
      distance: of rows.
      chunk: queries at a time.

    Returns:
      A scalar between 0 and 1.

    Raises:
      InputError: when an option is out of range.

    >>> rows = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> float(knn_accuracy(rows, jnp.array([0, 1]), rows, jnp.array([0, 0]), classes=2, k=1))
    0.5
    """
    scores = knn_scores(features, labels, queries, classes=classes, k=k, temperature=temperature, distance=distance, chunk=chunk)
    return jnp.mean(top_k(scores, query_labels))


@partial(jax.jit, static_argnames=("k", "distance", "chunk"))
def _nearest(features, queries, *, k, distance, chunk):
    # Full precision: with the short floats that accelerators prefer, other rows would be the nearest.
    by_row = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    if distance == "cosine":
        bank = _unit(features)
        return jax.lax.map(lambda query: jax.lax.top_k(by_row(bank, _unit(query)), k), queries, batch_size=chunk)
    centre = jnp.mean(features.astype(jnp.float32), axis=0)  # the differences of squares below lose less near 0
    bank = features - centre[None]
    squares = jnp.sum(jnp.square(bank), axis=-1)

    def by_distance(query):
        query = query - centre
        _, rows = jax.lax.top_k(2 * by_row(bank, query) - squares, k)
        return -jnp.linalg.norm(bank[rows] - query[None], axis=-1), rows

    return jax.lax.map(by_distance, queries, batch_size=chunk)


@partial(jax.jit, static_argnames=("classes", "distance"))
def _votes(near, labels, temperature, *, classes, distance):
    """Votes of neighbours `[M, k]` for their labels, which sum to 1."""
    weights = jax.nn.softmax(near / temperature) if distance == "cosine" else 1 / (1e-5 - near)
    votes = jax.vmap(lambda one, named: jnp.zeros(classes).at[named].add(one))(weights, labels)
    return votes / jnp.sum(votes, axis=-1, keepdims=True)


def _check(rows, k, distance, chunk):
    check_option("k", k, lambda n: 1 <= n <= rows, f"1 to {rows}, the number of rows to look among")
    check_option("distance", distance, lambda d: d in DISTANCES, " or ".join(DISTANCES))
    check_option("chunk", chunk, lambda n: n >= 1, "1 or more")


def _unit(x: jax.Array) -> jax.Array:
    return unit(x.astype(jnp.float32))
