"""Contrastive losses of self-supervised learning: a row is to find its own image among others, in the batch or in a queue.

Only directions count: all rows are scaled to length 1 here, those of a queue too; a row of zeros has cosine 0 with all and
gradient 0. A loss is the cross-entropy of a softmax over cosines divided by the temperature, in nats, without a further factor.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError, check_rows
from kdjax.core.shapes import Sizes, check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_flag, check_positive, wide
from kdjax.losses._geometry import off_diagonal
from kdjax.losses._softmax import log_probabilities, probabilities


def info_nce(query: ArrayLike, key: ArrayLike, *, temperature: ArrayLike = 1.0, axis_name: AxisName = None) -> jax.Array:
    """How well each query finds the key of its own image among the keys of the whole batch.

        -log(exp(c_ii / T) / sum over all j of exp(c_ij / T)),   c_ij = cos(query_i, key_j)

    The gradient stops at the keys. This is one direction; MoCo v3 adds the one of the swapped views.

    Args:
      query: `[B, D]`, the predictor's outputs of one view.
      key: `[B, D]`, the slow network's projections of the other view of the same images.
      temperature: T, a number above 0; MoCo v3 has 1 with a ResNet and 0.2 with a ViT.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[B]`, in nats, of this device's queries; `log` of the global batch where all cosines are equal.

    Raises:
      InputError: for other or unequal shapes, a global batch of one row, or a temperature that is not above 0.

    Reference:
      Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers", ICCV 2021, arXiv 2104.02057; the loss
      is that of van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", arXiv 1807.03748.
      Differs from the authors' code of MoCo v3 in its factor 2 T, with which the temperature does not change the size of the
      gradient: that is left to the method (Fast-MoCo has none).

    >>> rows = jnp.eye(2)
    >>> print(f"{info_nce(rows, rows, temperature=1.0)[0]:.4f}")  # log(1 + 1 / e)
    0.3133
    """
    check_shapes("B D", query=query, key=key)
    check_positive("temperature", temperature)
    check_rows(np.shape(query)[0], axis_name, "info_nce")
    return _in_batch(_directions(query), lax.stop_gradient(_directions(key)), temperature, axis_name)


def nnclr(
    neighbours: ArrayLike,
    prediction: ArrayLike,
    *,
    temperature: ArrayLike = 0.1,
    stop_neighbours: bool = True,
    axis_name: AxisName = None,
) -> jax.Array:
    """How well an image's nearest neighbour finds the prediction of the image's other view among those of the whole batch.

        -log(exp(c_ii / T) / sum over all j of exp(c_ij / T)),   c_ij = cos(neighbour_i, prediction_j)

    This is one direction, of `nearest(z_1, queue)` and the prediction p_2; the method has the mean of both.

    Args:
      neighbours: rows of the queue `[B, D]` from `nearest`.
      prediction: the predictor's outputs `[B, D]` of the other view of the same images.
      temperature: T, a number above 0; the paper has 0.1, benchmarks 0.2.
      stop_neighbours: True stops the gradient at the neighbours, which are constants in the method.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[B]`, in nats, of this device's images; the gradient reaches the predictions of all devices.

    Raises:
      InputError: for other or unequal shapes, a global batch of one row, a temperature that is not above 0, or a
        `stop_neighbours` that is no flag.

    Reference:
      Dwibedi, Aytar, Tompson, Sermanet, Zisserman, "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning
      of Visual Representations", ICCV 2021, arXiv 2104.14548. The benchmarks' function lets a gradient into the neighbours.

    >>> rows = jnp.eye(2)
    >>> print(f"{nnclr(rows, rows, temperature=1.0)[0]:.4f}")  # log(1 + 1 / e)
    0.3133
    """
    check_shapes("B D", neighbours=neighbours, prediction=prediction)
    check_positive("temperature", temperature)
    check_flag("stop_neighbours", stop_neighbours)
    check_rows(np.shape(prediction)[0], axis_name, "nnclr")
    anchors = _directions(neighbours)
    return _in_batch(lax.stop_gradient(anchors) if stop_neighbours else anchors, _directions(prediction), temperature, axis_name)


def nt_xent(views: ArrayLike, *, temperature: ArrayLike = 0.1, axis_name: AxisName = None) -> jax.Array:
    """How well each view of an image finds the image's other views among all views of all images.

        -log(sum over the other views of i of exp(c / T) / sum over all other rows of exp(c / T))

    c is the cosine with the row at hand, which itself is left out. With more than two views all positives stand inside one
    logarithm. The gradient reaches every row, as the one that looks and as one that is looked at.

    Args:
      views: projections `[V, B, D]` of V views of the same images, 2 or more.
      temperature: T, a number above 0; the paper has 0.1 on ImageNet and 0.5 on CIFAR-10.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[V, B]`, in nats, of this device's rows; `log((V B - 1) / (V - 1))` where all cosines are equal, B the global batch.

    Raises:
      InputError: for another shape, fewer than 2 views, a global batch of one image, or a temperature that is not above 0.

    Reference:
      Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
      arXiv 2002.05709: the mean over all rows. Their code adds the means of the two views, which is twice that. Losses with
      labels that average the logarithms of several positives differ from this one beyond two views.

    >>> print(f"{nt_xent(jnp.ones((2, 4, 3)), temperature=0.5)[0, 0]:.4f}")  # log 7
    1.9459
    """
    check_shapes("V B D", views=views)
    if np.shape(views)[0] < 2:
        raise InputError(f"views has shape {np.shape(views)}: expected [V, B, D] with 2 views or more")
    check_positive("temperature", temperature)
    count, rows, _ = np.shape(views)
    check_rows(rows, axis_name, "nt_xent")
    t, own = wide(temperature), _directions(views)
    everyone = collectives.gather(jnp.swapaxes(own, 0, 1), axis_name)  # [B, V, D]: rows lead where they are brought together
    others = jnp.einsum("vbd,cud->vbcu", own, everyone, precision="highest") / t
    image = collectives.offset(rows, axis_name) + jnp.arange(rows)
    same = image[None, :, None, None] == jnp.arange(len(everyone))[None, None, :, None]
    negatives = jax.nn.logsumexp(jnp.where(same, -jnp.inf, others), axis=(2, 3))
    pairs = jnp.einsum("vbd,ubd->vbu", own, own, precision="highest") / t
    itself = jnp.eye(count, dtype=bool)[:, None]
    return _loss(jax.nn.logsumexp(jnp.where(itself, -jnp.inf, pairs), axis=2), negatives)


def moco(query: ArrayLike, key: ArrayLike, queue: ArrayLike, *, temperature: ArrayLike = 0.2) -> jax.Array:
    """How well each query finds the key of its own image among the keys of earlier batches.

        -log(exp(q.k / T) / (exp(q.k / T) + sum over queue rows n of exp(q.n / T))),   a dot for the cosine

    The gradient stops at the key and the queue. The keys of the batch are no negatives: push them after this
    (`kdjax.core.push`). This is one direction: v2 has no other, and v2+ adds or averages the one of the swapped views.

    Args:
      query: `[B, D]`, the network's embeddings of one view.
      key: `[B, D]`, the slow network's embeddings of the other view.
      queue: `[K, D]`, one key a row; on all devices the same. The authors' code holds it transposed.
      temperature: T, a number above 0; v1 has 0.07, v2 0.2.

    Returns:
      `[B]`, in nats; `log(K + 1)` where all cosines are equal.

    Raises:
      InputError: for other or unequal shapes, an empty queue, or a temperature that is not above 0.

    Reference:
      He, Fan, Wu, Xie, Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
      arXiv 1911.05722; v2: Chen, Fan, Girshick, He, "Improved Baselines with Momentum Contrastive Learning", arXiv 2003.04297.

    >>> q = jnp.array([[2.0, 0.0]])
    >>> print(f"{moco(q, q, jnp.array([[0.0, 1.0], [-3.0, 0.0]]), temperature=1.0)[0]:.4f}")  # log(1 + 1 / e + 1 / e^2)
    0.4076
    """
    _check_queue(check_shapes("B D", query=query, key=key), queue)
    check_positive("temperature", temperature)
    t, q = wide(temperature), _directions(query)
    k, n = (lax.stop_gradient(_directions(x)) for x in (key, queue))
    negatives = jax.nn.logsumexp(_cosines(q, n) / t, axis=1)
    return _loss(jnp.sum(q * k, axis=1) / t, negatives)


def ressl(
    query: ArrayLike, key: ArrayLike, queue: ArrayLike, *, query_temperature: ArrayLike = 0.1, key_temperature: ArrayLike = 0.04
) -> jax.Array:
    """How far two views differ in which earlier images they resemble: a cross-entropy over the queue, without a positive pair.

        -sum over queue rows n of softmax(k.n / T_k) log softmax(q.n / T_q),   a dot for the cosine

    The gradient stops at the key and the queue; push the keys after this (`kdjax.core.push`). One direction is the whole loss.

    Args:
      query: `[B, D]`, the network's embeddings of the strongly augmented view.
      key: `[B, D]`, the slow network's embeddings of the weakly augmented view.
      queue: `[K, D]`, one key a row; on all devices the same.
      query_temperature: T_q, a number above 0; the paper has 0.1.
      key_temperature: T_k, a number above 0, smaller than T_q so that the target is the sharper one; the paper has 0.04.

    Returns:
      `[B]`, in nats; its least value is the entropy of the target, not 0.

    Raises:
      InputError: for other or unequal shapes, an empty queue, or a temperature that is not above 0.

    Reference:
      Zheng, You, Wang, Qian, Zhang, Wang, Xu, "ReSSL: Relational Self-Supervised Learning with Weak Augmentation",
      NeurIPS 2021, arXiv 2107.09282.

    >>> q, queue = jnp.array([[0.0, 0.0]]), jnp.eye(2)
    >>> print(f"{ressl(q, queue[:1], queue, query_temperature=0.1, key_temperature=0.04)[0]:.4f}")  # log 2
    0.6931
    """
    _check_queue(check_shapes("B D", query=query, key=key), queue)
    check_positive("query_temperature", query_temperature)
    check_positive("key_temperature", key_temperature)
    k, n = (lax.stop_gradient(_directions(x)) for x in (key, queue))
    target = probabilities(_cosines(k, n), key_temperature)
    return -jnp.sum(target * log_probabilities(_cosines(_directions(query), n), query_temperature), axis=1)


def nearest(embedding: ArrayLike, queue: ArrayLike) -> jax.Array:
    """The row of a queue with the largest cosine to each embedding; of equal ones the first. No gradient flows.

    Args:
      embedding: `[B, D]`.
      queue: `[K, D]`, earlier embeddings; on all devices the same.

    Returns:
      `[B, D]`, rows of the queue as they are there.

    Raises:
      InputError: for other or unequal shapes, or an empty queue.

    Reference:
      Dwibedi, Aytar, Tompson, Sermanet, Zisserman, "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning
      of Visual Representations", ICCV 2021, arXiv 2104.14548.

    >>> nearest(jnp.array([[1.0, 3.0]]), jnp.array([[9.0, 0.0], [0.0, 1.0]]))
    Array([[0., 1.]], dtype=float32)
    """
    _check_queue(check_shapes("B D", embedding=embedding), queue)
    z, rows = (lax.stop_gradient(_directions(x)) for x in (embedding, queue))
    return collectives.take(lax.stop_gradient(jnp.asarray(queue)), jnp.argmax(_cosines(z, rows), axis=1))


def _check_queue(sizes: Sizes, queue: ArrayLike) -> None:
    check_shapes("K D", {"D": sizes["D"]}, queue=queue)
    if np.shape(queue)[0] == 0:
        raise InputError(f"queue has shape {np.shape(queue)}: expected [K, D] with 1 row or more")


def _directions(x: ArrayLike) -> jax.Array:
    return unit(wide(x))


def _cosines(a: jax.Array, b: jax.Array) -> jax.Array:
    """Of directions: `[B, D], [K, D] -> [B, K]`. In full float32 on every device: a small temperature magnifies rounding."""
    return jnp.einsum("bd,kd->bk", a, b, precision="highest")


def _in_batch(anchors: jax.Array, others: jax.Array, temperature: ArrayLike, axis_name: AxisName) -> jax.Array:
    """`[b]`: each direction of `anchors` against those of `others` on all devices, of which its own row is the positive."""
    t = wide(temperature)
    scores = off_diagonal(_cosines(anchors, collectives.gather(others, axis_name)) / t, axis_name, -jnp.inf)
    return _loss(jnp.sum(anchors * others, axis=1) / t, jax.nn.logsumexp(scores, axis=1))


def _loss(positives: jax.Array, negatives: jax.Array) -> jax.Array:
    """`-log(p / (p + n))` of the logarithms of sums of exponentials: never below 0, and exact where it is small."""
    return jax.nn.softplus(negatives - positives)
