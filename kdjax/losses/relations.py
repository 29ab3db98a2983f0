"""Losses that compare relations: between the examples of a batch (who is near whom, which shape they form), between predictions.

Every row sees every other, so each loss is a scalar of the global batch. With `axis_name` the rows of all devices are
gathered; a device works out its own rows' relations to all the others. Widths of student and teacher may differ unless
said.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import check_option
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_flag, check_number, check_positive, wide
from kdjax.losses._geometry import absolute, beyond_rounding, off_diagonal, root
from kdjax.losses._positions import pairs, shown
from kdjax.losses._softmax import probabilities

# Added to lengths and to probabilities, as in the authors' code of probabilistic transfer.
_EPSILON = 1e-7
_OF_NORMS = 1e-8  # added to the product of two norms, as in the authors' code of dist
# Squared distances are at least this before the root, as in the authors' code.
_NEAR = 1e-12
# Anchors whose angles are worked out together: this many times the squared batch is held at once, not its cube.
_ANCHORS = 64


def similarity_preserving(
    student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None, axis_name: AxisName = None
) -> jax.Array:
    """Compares which examples excite a layer alike.

        sum over i, j of (G_s - G_t)[i, j]^2 / B^2,   G = f f^T with rows scaled to length 1

    The gradient stops at the teacher. An example of zeros has a row of zeros, which pulls nowhere; its column still does.

    Args:
      student: features `[B, ..., C]`, taken as one vector an example.
      teacher: features `[B, ..., D]`, of any other shape.
      where: bool `[B]`, the rows that count, as if the others were not there; 0 where none does. None: all count.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for fewer than two axes or unequal batches.

    Reference:
      Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv 1907.09682.

    >>> similarity_preserving(jnp.eye(2), jnp.ones((2, 1)))  # rows of the identity against rows of 1/sqrt 2
    Array(0.2928932, dtype=float32)
    """
    sizes = check_shapes("B ... C", student=student)
    check_shapes("B ... D", {"B": sizes["B"]}, teacher=teacher)
    both = shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1)
    s, t = (x.reshape(x.shape[0], -1) for x in both)
    apart = unit(_products(s, axis_name), 1) - unit(_products(t, axis_name), 1)
    return collectives.mean(apart**2, pairs(where, axis_name), axis_name)


def correlation_congruence(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    variant: Literal["rows", "paper"] = "rows",
    gamma: ArrayLike = 0.4,
    stop_teacher: bool = False,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
) -> jax.Array:
    """Compares the embeddings of a batch's examples, in one of two ways that share a name.

        "rows":  mean over i < B - 1 of  sum over d of  |s - t|[i, d] |s - t|[i + 1, d]
        "paper": sum over i, j of (K(s) - K(t))[i, j]^2 / B^2

    The first is the benchmarks' code, with weight 0.02: products of neighbouring rows' differences, 0 for a single row.
    In the paper's, K is a Gaussian kernel of rows scaled to length 1, by its Taylor expansion to second order:
    `exp(-2 gamma) (1 + 2 gamma c + (2 gamma c)^2 / 2)`, with c the cosine.

    The method trains an embedding on either side, so the gradient flows through both by default: stop it at the
    teacher's features, before the embedding.

    Args:
      student: embeddings `[B, D]`.
      teacher: embeddings `[B, D]`.
      variant: `"rows"` or `"paper"`.
      gamma: of the paper's kernel, above 0.
      stop_teacher: True stops the gradient at the teacher's embeddings.
      where: bool `[B]`, the rows that count, as if the others were not there; 0 where none does. None: all count.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for other or unequal shapes, or unknown options.

    Reference:
      Peng, Jin, Liu, Li, Wu, Liu, Zhou, Zhang, "Correlation Congruence for Knowledge Distillation", ICCV 2019,
      arXiv 1904.01802.

    >>> correlation_congruence(jnp.array([[1.0], [2.0], [3.0]]), jnp.zeros((3, 1)))  # (1 * 2 + 2 * 3) / 2
    Array(4., dtype=float32)
    """
    check_shapes("B D", student=student, teacher=teacher)
    check_option("variant", variant, lambda v: v in ("rows", "paper"), "'rows' or 'paper'")
    check_positive("gamma", gamma)
    check_flag("stop_teacher", stop_teacher)
    s, t = shown(where, wide(student), wide(lax.stop_gradient(teacher) if stop_teacher else teacher), axes=1)
    if variant == "paper":
        apart = _gaussian(s, gamma, axis_name) - _gaussian(t, gamma, axis_name)
        return collectives.mean(apart**2, pairs(where, axis_name), axis_name)
    apart = collectives.gather(absolute(s - t), axis_name)
    steps = max(len(apart) - 1, 1)
    if where is not None:
        kept = collectives.gather(jnp.asarray(where), axis_name)
        apart = apart[jnp.argsort(~kept)]  # those that count side by side, in their order; the others are 0
        steps = jnp.maximum(jnp.sum(kept) - 1, 1).astype(apart.dtype)
    # All devices hold the same rows here; the average only says so.
    return collectives.pmean(jnp.sum(apart[:-1] * apart[1:]) / steps, axis_name)


def probabilistic_transfer(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    variant: Literal["mean", "paper"] = "mean",
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
) -> jax.Array:
    """Compares, for each example, the distribution over the others that its cosine similarities make.

        P[i, :] = S[i, :] / sum over j of S[i, j],   S = (1 + cosine) / 2
        "mean":  mean over all i, j of P_t log((P_t + e) / (P_s + e)), diagonal kept
        "paper": sum over i and j != i of the same, P without the diagonal

    e is 1e-7. The gradient stops at the teacher. An example of zeros has cosine 0 with all and gradient 0.

    Args:
      student: pooled features `[B, C]`.
      teacher: pooled features `[B, D]`.
      variant: `"mean"` (the benchmarks' code; the mean over B^2 is why their weight is 30000) or `"paper"`.
      where: bool `[B]`, the rows that count, as if the others were not there; 0 where none does. None: all count.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0 up to rounding.

    Raises:
      InputError: for other shapes or unequal batches, or an unknown variant.

    Reference:
      Passalis, Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018,
      arXiv 1803.10837.

    >>> near, far = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> print(f"{probabilistic_transfer(near, far):.2f}")  # P is 1/2 everywhere, or 1 on the diagonal: log 2 / 2
    0.35
    """
    sizes = check_shapes("B C", student=student)
    check_shapes("B D", sizes, teacher=teacher)
    check_option("variant", variant, lambda v: v in ("mean", "paper"), "'mean' or 'paper'")
    s, t = shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1)
    diagonal, kept = variant == "mean", pairs(where, axis_name)
    p_s, p_t = _likely(s, diagonal, kept, axis_name), _likely(t, diagonal, kept, axis_name)
    terms = p_t * jnp.log((p_t + _EPSILON) / (p_s + _EPSILON))
    if diagonal:
        return collectives.mean(terms, kept, axis_name)
    return collectives.psum(jnp.sum(terms), axis_name)


def _products(x: jax.Array, axis_name: AxisName) -> jax.Array:
    """The products of this device's rows with all rows: `[b, D] -> [b, B]`."""
    return jnp.einsum("id,jd->ij", x, collectives.gather(x, axis_name), precision="highest")


def _gaussian(x: jax.Array, gamma: ArrayLike, axis_name: AxisName) -> jax.Array:
    x = unit(x, 1)
    gamma = wide(gamma)
    c = 2 * gamma * _products(x, axis_name)
    return jnp.exp(-2 * gamma) * (1 + c + c**2 / 2)


def _likely(x: jax.Array, diagonal: bool, kept: jax.Array | None, axis_name: AxisName) -> jax.Array:
    length = root(jnp.sum(x**2, axis=1, keepdims=True))
    # A row of zeros is left out: beside the epsilon alone its gradient would be 1e7.
    x = jnp.where(length > 0, x / (length + _EPSILON), 0.0)
    # A cosine may round to just below -1, which would make a probability negative.
    similarity = jnp.maximum((_products(x, axis_name) + 1) / 2, 0.0)
    if not diagonal:
        similarity = off_diagonal(similarity, axis_name)
    if kept is not None:
        similarity = jnp.where(kept, similarity, 0.0)
    whole = jnp.sum(similarity, axis=1, keepdims=True)
    return similarity / jnp.where(whole > 0, whole, 1.0)


def relational_distance(
    student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None, axis_name: AxisName = None
) -> jax.Array:
    """Compares the distances between examples, each network's in units of its own mean distance.

        mean over all i, j of huber(D_s / m_s - D_t / m_t)[i, j],   D[i, j] = |h_i - h_j|,   m = the mean of D > 0

    The Huber function turns linear at 1. The gradient flows through the student's mean and stops at the teacher.
    Squared distances are at least 1e-12, so equal rows give finite numbers; they pull nowhere.

    Args:
      student: pooled features `[B, C]`.
      teacher: pooled features `[B, D]`.
      where: bool `[B]`, the rows that count, as if the others were not there; 0 where none does. None: all count.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0. It does not change when either side is moved, turned or scaled.

    Raises:
      InputError: for other shapes or unequal batches.

    Reference:
      Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068. As in the authors' code the
      mean is over all B^2 entries with the zero diagonal; the paper's sum over pairs is B^2 times this. Their weight is 25.

    >>> line, corner = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    >>> print(f"{relational_distance(line, corner):.4f}")  # 4 * (1/2)^2 / 2 / 9: 3/4, 3/2, 3/4 against 3/4, 1, 5/4
    0.0556
    """
    sizes = check_shapes("B C", student=student)
    check_shapes("B D", sizes, teacher=teacher)
    s, t = shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1)
    kept = pairs(where, axis_name)
    return collectives.mean(_huber(_distances(s, kept, axis_name) - _distances(t, kept, axis_name)), kept, axis_name)


def relational_angle(
    student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None, axis_name: AxisName = None
) -> jax.Array:
    """Compares the angles that examples form in threes.

        mean over all i, j, k of huber(A_s - A_t)[i, j, k],   A[i, j, k] = the cosine of the angle at i from j to k

    The Huber function turns linear at 1. The gradient stops at the teacher. Angles with two equal rows are 0 and pull
    nowhere. Takes time with the cube of the batch.

    Args:
      student: pooled features `[B, C]`.
      teacher: pooled features `[B, D]`.
      where: bool `[B]`, the rows that count, as if the others were not there; 0 where none does. None: all count.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar in [0, 1.5]. It does not change when either side is moved, turned or scaled.

    Raises:
      InputError: for other shapes or unequal batches.

    Reference:
      Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068. As in the authors' code the
      mean is over all B^3 entries, degenerate ones too; the paper's sum over triplets is B^3 times this. Their weight
      is 50.

    >>> x = jnp.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    >>> print(f"{relational_angle(x, 2 * x[:, ::-1]):.4f}")
    0.0000
    """
    sizes = check_shapes("B C", student=student)
    check_shapes("B D", sizes, teacher=teacher)
    own = shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1)
    s, t = (collectives.gather(x, axis_name) for x in own)
    mine = None if where is None else jnp.asarray(where)
    kept = None if mine is None else collectives.gather(mine, axis_name)

    @jax.checkpoint  # the gradient works the angles out again instead of keeping them
    def of_anchor(anchor: tuple[jax.Array, jax.Array]) -> jax.Array:
        apart = shown(kept, s - anchor[0][None], t - anchor[1][None])
        return collectives.mean(_huber(_cosines(apart[0]) - _cosines(apart[1])), pairs(kept, None))

    return collectives.mean(lax.map(of_anchor, own, batch_size=_ANCHORS), mine, axis_name)


def _distances(x: jax.Array, kept: jax.Array | None, axis_name: AxisName) -> jax.Array:
    """This device's rows' distances to all rows, over the mean of the positive ones: `[b, D] -> [b, B]`."""
    # The differences, not |a|^2 + |b|^2 - 2 ab: that loses small distances between long vectors.
    apart = collectives.gather(x, axis_name)[None] - x[:, None]
    distance = off_diagonal(jnp.sqrt(jnp.maximum(jnp.sum(apart**2, axis=-1), _NEAR)), axis_name)
    if kept is not None:
        distance = jnp.where(kept, distance, 0.0)
    mean = collectives.mean(distance, distance > 0, axis_name)
    return distance / jnp.where(mean > 0, mean, 1.0)


def _cosines(apart: jax.Array) -> jax.Array:
    direction = unit(apart, 1)
    return jnp.einsum("jd,kd->jk", direction, direction, precision="highest")


def _huber(x: jax.Array) -> jax.Array:
    """x^2 / 2 within [-1, 1], and |x| - 1/2 outside."""
    inside = jnp.clip(x, -1.0, 1.0)
    return inside * (x - 0.5 * inside)


def dist(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    beta: ArrayLike = 1.0,
    gamma: ArrayLike = 1.0,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
) -> jax.Array:
    """How far two predictions are from varying alike, over the classes of a row and over the rows of a class.

        tau^2 (beta (1 - mean_i rho(y_s[i, :], y_t[i, :])) + gamma (1 - mean_k rho(y_s[:, k], y_t[:, k])))

    y = softmax(logits / tau), and rho is Pearson's correlation: of centred vectors, their dot product divided by the product of
    their norms plus 1e-8. A row or a class that does not vary (by more than rounding) has correlation 0 and gradient 0; so has
    a masked class, of logit -inf, over the rows. Dense logits count each position of the whole batch as a row. The second mean
    is a statistic of the batch: 32 rows or more are advised. The gradient stops at the teacher.

    Args:
      student: logits `[B, ..., K]`.
      teacher: logits `[B, ..., K]`.
      beta: weight of the correlation over classes, at least 0.
      gamma: weight of the correlation over rows, at least 0.
      temperature: tau, a number above 0; the authors have 4 on CIFAR-100, 1 on ImageNet and for dense logits.
      where: bool `[B, ...]`, the positions that count, as if the others were not there; 0 where none does. None: all count.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in [0, 2 tau^2 (beta + gamma)].

    Raises:
      InputError: for other shapes, a negative weight, or a temperature that is not above 0.

    Reference:
      Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv 2205.10536. The code has
      beta = gamma = 1 and a weight of 2 on the whole, which is the paper's beta = gamma = 2.

    >>> logits = jnp.array([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    >>> print(f"{dist(logits, logits, beta=1.0, gamma=1.0):.4f}")
    0.0000
    """
    check_shapes("B ... K", student=student, teacher=teacher)
    for name, weight in (("beta", beta), ("gamma", gamma)):
        check_number(name, weight, lambda v: 0 <= v < math.inf, "a finite number, at least 0")
    check_positive("temperature", temperature)
    classes = np.shape(student)[-1]
    kept = jnp.ones(np.shape(student)[:-1], bool) if where is None else jnp.asarray(where)
    kept = kept.reshape(-1, 1)
    t = wide(temperature)
    student, teacher = shown(where, student, teacher)

    def predictions(logits):
        return probabilities(logits.reshape(-1, classes), t)

    def over_classes(x):
        return jnp.sum(x, axis=1, keepdims=True)

    def over_rows(x):
        return collectives.psum(jnp.sum(jnp.where(kept, x, 0.0), axis=0, keepdims=True), axis_name)

    s, teach = predictions(student), predictions(lax.stop_gradient(teacher))
    count = over_rows(jnp.ones_like(s))
    some = jnp.minimum(count[0, 0], 1.0)
    inter = collectives.mean(1 - _correlation(s, teach, over_classes, classes), kept, axis_name)
    intra = some * jnp.mean(1 - _correlation(s, teach, over_rows, jnp.maximum(count, 1.0)))
    return t**2 * (wide(beta) * inter + wide(gamma) * intra)


def _correlation(a, b, total, count):
    a, b = _centred(a, total, count), _centred(b, total, count)
    return total(a * b) / (root(total(a * a)) * root(total(b * b)) + _OF_NORMS)


def _centred(x, total, count):
    mean = total(x) / count
    apart = x - mean
    # What is left of equal numbers is rounding, and its gradient beside the 1e-8 would be 1e8.
    return jnp.where(beyond_rounding(total(apart**2) / count, mean), apart, 0.0)
