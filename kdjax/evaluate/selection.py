"""Which images to have labelled, when only so many labels can be paid for: dense places, and far from one another."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from kdjax.core.check import InputError, check_option
from kdjax.core.k_means import euclidean_k_means
from kdjax.core.unit import unit
from kdjax.evaluate.knn import nearest

_NEAR = 1e-12  # squared distances are at least this
_FAR = 1e10  # the squared distance of what does not repel
_BLOCK = 4096  # rows that are compared with all that are chosen at a time


def usl(
    key: jax.Array,
    features: jax.Array,
    *,
    budget: int,
    k: int = 20,
    cluster_iterations: int = 200,
    weight: float = 0.5,
    iterations: int = 10,
    momentum: float = 0.9,
    horizon: float = 4.0,
    exponent: float = 0.5,
) -> np.ndarray:
    """Unsupervised selective labelling: the images to label, told by features that were learnt without labels.

    The features, divided by their lengths, are cut into as many clusters as there are labels to give (`core.euclidean_k_means`,
    from rows drawn by the key). In each one `select_apart` takes a row of high `density` that is far from those of other clusters.
    Where a cluster has lost all its rows, the densest of the rows that are left is taken instead, so that there are always as many
    as asked for.

    Args:
      key: of the first centroids.
      features: `[N, D]`.
      budget: how many to choose, 1 to N.
      k: neighbours of the density, the row itself among them; the authors have 400 of CIFAR's 50,000 and 20 of ImageNet. Far below
        N / budget, or one mode wins everywhere.
      cluster_iterations: of k-means.
      weight: of the distance to the rows of other clusters, as in `select_apart`, like the rest; the defaults are CIFAR-10's.
      iterations: of the choice.
      momentum: of what repels.
      horizon: squared distance.
      exponent: of the distance.

    Returns:
      Row numbers, int `[budget]`, all different, those of the clusters in order first.

    Raises:
      InputError: for another shape, features that are not finite, or options out of range.

    Reference:
      Xudong Wang, Long Lian, Stella X. Yu, "Unsupervised Selective Labeling for More Effective Semi-Supervised Learning", ECCV
      2022, arXiv:2110.03006. The authors avoid empty clusters by one centroid more where they have met one.

    >>> angles = jnp.array([0.0, 0.1, 0.2, 2.0, 2.1, 2.2, 3.1])
    >>> features = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
    >>> sorted(usl(jax.random.key(0), features, budget=2, k=3).tolist())  # the middle of either group
    [1, 4]
    """
    features = _features(features)
    rows = len(features)
    check_option("budget", budget, lambda n: 1 <= n <= rows, f"1 to {rows}, the number of rows")
    features = unit(features)
    scores = density(features, k=k)
    first = jax.random.choice(key, rows, (budget,), replace=False)
    _, clusters = euclidean_k_means(features, features[first], iterations=cluster_iterations)
    options = {"weight": weight, "iterations": iterations, "momentum": momentum, "horizon": horizon, "exponent": exponent}
    return _filled(select_apart(features, scores, clusters, count=budget, **options), scores)


def uslt(logits: jax.Array) -> np.ndarray:
    """The choice of USL-T, whose clusters were learnt: of each cluster the image of which the heads are surest.

    An image belongs to the cluster of the largest logit of the first head; how sure they are is the largest probability of each
    head, the mean over heads. For a cluster without images the surest of the images that are left is taken.

    Args:
      logits: of all heads, `[H, N, K]`; N at least K.

    Returns:
      Row numbers, int `[K]`, all different, those of the clusters in order first.

    Raises:
      InputError: for another shape, fewer rows than clusters, or logits that are not finite.

    Reference:
      Xudong Wang, Long Lian, Stella X. Yu, "Unsupervised Selective Labeling for More Effective Semi-Supervised Learning", ECCV
      2022, arXiv:2110.03006; the losses are `kdjax.losses.uslt_local` and `uslt_global`.

    >>> uslt(jnp.array([[[3.0, 0.0], [5.0, 0.0], [0.0, 1.0]]])).tolist()
    [1, 2]
    """
    logits = jnp.asarray(logits)
    if logits.ndim != 3 or not logits.size or logits.shape[1] < logits.shape[2]:
        raise InputError(f"logits of shape {logits.shape} are not accepted: expected [H, N, K] with N at least K")
    if not bool(jnp.isfinite(logits).all()):
        raise InputError("logits are not accepted: they hold a number that is not finite")
    sure = jnp.mean(jnp.max(jax.nn.softmax(logits.astype(jnp.float32)), axis=-1), axis=0)
    return _filled(_best(sure, jnp.argmax(logits[0], axis=-1), logits.shape[2]), sure)


def density(features: jax.Array, *, k: int, chunk: int = 256) -> jax.Array:
    """How densely the surroundings of each row are populated: one over the mean squared distance to its k nearest neighbours.

    A row is its own nearest neighbour, with a distance of 0 that counts. The mean is taken to be 1e-12 at least, where k rows are
    equal.

    Args:
      features: `[N, D]`, as they are.
      k: 2 to N.
      chunk: rows at a time; bounds the memory to `chunk * N` numbers and does not change the result.

    Returns:
      `[N]`, float32.

    Raises:
      InputError: for another shape, or options out of range.

    Reference:
      Wang, Lian, Yu, as in `usl`.

    >>> density(jnp.array([[0.0], [1.0], [5.0]]), k=2).tolist()
    [2.0, 2.0, 0.125]
    """
    features = _features(features)
    check_option("k", k, lambda n: 2 <= n <= len(features), f"2 to {len(features)}, the number of rows")
    near, _ = nearest(features, features, k=k, distance="euclidean", chunk=chunk)
    return 1 / jnp.maximum(jnp.mean(near**2, axis=1), _NEAR)


def select_apart(
    features: jax.Array,
    scores: jax.Array,
    clusters: jax.Array,
    *,
    count: int,
    weight: float = 0.5,
    iterations: int = 10,
    momentum: float = 0.9,
    horizon: float = 4.0,
    exponent: float = 0.5,
) -> jax.Array:
    """A row of each cluster that has a high score and is far from those of the other clusters.

    From r = 0 on, so many times:

        s_c = argmax over i in cluster c of  scores_i - weight r_i
        r_i <- momentum r_i + (1 - momentum) sum over s_c, c not the cluster of i, of  |f_i - f_{s_c}|^(-2 exponent)

    and the last s is the result: with one iteration only the scores count. A chosen row that is too far, or of the row's own
    cluster, is given the squared distance 1e10.

    Args:
      features: `[N, D]`, as they are.
      scores: `[N]`, as a rule of `density`.
      clusters: cluster numbers, integers `[N]`.
      count: K, how many clusters there are.
      weight: 0 or more.
      iterations: 1 or more.
      momentum: from 0 to below 1.
      horizon: the squared distance from which on a row is too far; that of opposite unit vectors, 4, is no limit.
      exponent: above 0.

    Returns:
      Row numbers, int32 `[K]`; -1 for a cluster without rows.

    Raises:
      InputError: for other shapes, or options out of range.

    Reference:
      Wang, Lian, Yu, as in `usl`. CIFAR-100 has weight 1, horizon 1 and exponent 1. The authors' code fails where a cluster is
      empty.

    >>> rows = jnp.array([[0.0], [1.0], [1.2], [3.0]])
    >>> select_apart(rows, jnp.array([1.0, 1.1, 1.1, 1.0]), jnp.array([0, 0, 1, 1]), count=2, weight=1.0).tolist()
    [0, 3]
    """
    features, scores, clusters = _features(features), jnp.asarray(scores), jnp.asarray(clusters)
    if scores.shape != (len(features),) or clusters.shape != scores.shape or not jnp.issubdtype(clusters.dtype, jnp.integer):
        raise InputError(
            f"scores and clusters have shapes {scores.shape} and {clusters.shape}, and the type of clusters is {clusters.dtype}: "
            f"expected [{len(features)}], as features have rows, and integers"
        )
    check_option("count", count, lambda n: n >= 1, "1 or more")
    check_option("iterations", iterations, lambda n: n >= 1, "1 or more")
    check_option("weight", weight, lambda v: 0 <= v < np.inf, "0 or more")
    check_option("momentum", momentum, lambda v: 0 <= v < 1, "a number from 0 to below 1")
    check_option("horizon", horizon, lambda v: v > 0, "a number above 0")
    check_option("exponent", exponent, lambda v: 0 < v < np.inf, "a number above 0")
    return _apart(features, scores, clusters, weight, momentum, horizon, exponent, count=count, iterations=iterations)


@partial(jax.jit, static_argnames=("count", "iterations"))
def _apart(features, scores, clusters, weight, momentum, horizon, exponent, *, count, iterations):
    features = features - jnp.mean(features, axis=0, keepdims=True)  # near 0 the differences of squares lose less
    squares = jnp.sum(features**2, axis=1)

    def repelled(chosen):
        there, points, lengths = chosen >= 0, features[chosen], squares[chosen]

        def of(row):
            x, square, own = row
            apart = square + lengths - 2 * jnp.matmul(points, x, precision=lax.Precision.HIGHEST)
            repels = (jnp.arange(count) != own) & (apart < horizon)
            return jnp.sum(there * jnp.where(repels, jnp.maximum(apart, _NEAR), _FAR) ** -exponent)

        return lax.map(of, (features, squares, clusters), batch_size=_BLOCK)

    def once(r, _):
        chosen = _best(scores - weight * r, clusters, count)
        return momentum * r + (1 - momentum) * repelled(chosen), chosen

    return lax.scan(once, jnp.zeros_like(scores), length=iterations)[1][-1]


def _best(scores, clusters, count):
    """The row of the highest score in each cluster, the first of equal ones: int32 `[count]`, -1 for a cluster without rows."""
    top = jax.ops.segment_max(scores, clusters, count)
    rows = jnp.where(scores == top[clusters], jnp.arange(len(scores), dtype=jnp.int32), len(scores))
    first = jax.ops.segment_min(rows, clusters, count)
    return jnp.where(first < len(scores), first, -1)


def _features(features):
    x = jnp.asarray(features)
    if x.ndim != 2 or not x.size:
        raise InputError(f"features of shape {x.shape} are not accepted: expected [N, D]")
    if not isinstance(x, Tracer) and not bool(jnp.isfinite(x).all()):
        raise InputError("features are not accepted: they hold a number that is not finite")
    return x.astype(jnp.float32)


def _filled(chosen, scores):
    """The rows chosen and, for clusters without rows, the best of the others."""
    chosen = np.asarray(chosen)
    rows = chosen[chosen >= 0]
    others = np.argsort(-np.asarray(scores), kind="stable")
    return np.concatenate([rows, others[~np.isin(others, rows)]])[: len(chosen)]
