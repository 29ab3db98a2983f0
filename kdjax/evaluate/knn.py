"""Weighted nearest neighbours: what frozen features know, without any training."""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from kdjax.core.check import check_option
from kdjax.evaluate.classification import top_k


def knn_scores(
    features: jax.Array,
    labels: jax.Array,
    queries: jax.Array,
    *,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 256,
) -> jax.Array:
    """Class scores of the queries by a weighted vote of their k nearest neighbours.

    With all rows normalised to length 1 and s = query . feature, the score of class c is the sum over the k largest s
    of exp(s / temperature) [label = c], divided by the sum over all classes.

    Args:
      features: rows with known labels, `[N, D]`.
      labels: their labels, integers `[N]`, 0 to `classes - 1`.
      queries: rows to classify, `[M, D]`.
      classes: the number of classes.
      k: the number of neighbours, 1 to N.
      temperature: above 0; the smaller, the more the nearest neighbours count.
      chunk: queries compared at a time; bounds the memory to `chunk * N` numbers and does not change the result.

    Returns:
      Scores `[M, classes]`, float32; a row sums to 1.

    Raises:
      InputError: when an option is out of range.

    Reference:
      Zhirong Wu, Yuanjun Xiong, Stella X. Yu, Dahua Lin, "Unsupervised Feature Learning via Non-Parametric Instance
      Discrimination", CVPR 2018, arXiv:1805.01978; k = 20 as in Mathilde Caron and others, "Emerging Properties in
      Self-Supervised Vision Transformers", ICCV 2021, arXiv:2104.14294.

    >>> features = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> knn_scores(features, jnp.array([0, 1]), jnp.array([[3.0, 0.1]]), classes=2, k=1).tolist()
    [[1.0, 0.0]]
    """
    chex.assert_rank([features, labels, queries], [2, 1, 2])
    chex.assert_equal_shape_prefix([features, labels], 1)
    chex.assert_equal_shape_suffix([features, queries], 1)
    rows = features.shape[0]
    check_option("k", k, lambda n: 1 <= n <= rows, f"1 to {rows}, the number of labelled rows")
    check_option("temperature", temperature, lambda t: t > 0, "a number above 0")
    check_option("classes", classes, lambda n: n >= 1, "1 or more")
    check_option("chunk", chunk, lambda n: n >= 1, "1 or more")
    return _scores(features, labels, queries, temperature, classes=classes, k=k, chunk=chunk)


def knn_accuracy(
    features: jax.Array,
    labels: jax.Array,
    queries: jax.Array,
    query_labels: jax.Array,
    *,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
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
      chunk: queries at a time.

    Returns:
      A scalar between 0 and 1.

    Raises:
      InputError: when an option is out of range.

    >>> rows = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> float(knn_accuracy(rows, jnp.array([0, 1]), rows, jnp.array([0, 0]), classes=2, k=1))
    0.5
    """
    scores = knn_scores(features, labels, queries, classes=classes, k=k, temperature=temperature, chunk=chunk)
    return jnp.mean(top_k(scores, query_labels))


@partial(jax.jit, static_argnames=("classes", "k", "chunk"))
def _scores(features, labels, queries, temperature, *, classes, k, chunk):
    bank = _unit(features)

    def vote(query):
        # Full precision: with the short floats that accelerators prefer, other rows would be the nearest.
        near, rows = jax.lax.top_k(jnp.matmul(bank, _unit(query), precision=jax.lax.Precision.HIGHEST), k)
        weights = jax.nn.softmax(near / temperature)
        return jnp.zeros(classes).at[labels[rows]].add(weights)

    return jax.lax.map(vote, queries, batch_size=chunk)


def _unit(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
