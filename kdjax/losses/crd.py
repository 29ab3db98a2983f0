"""Contrastive representation distillation: the same image is a pair, images of other classes are not.

The method with banks has five pure functions. Its state is two banks `[N, D]` (`crd_bank`), one row for each training image, and
two constants. A step draws `crd_contrast`, takes `crd_constants` (set by the first call, kept by later ones), differentiates `crd`,
and then moves both banks by `crd_update`. `crd_in_batch` needs no state.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_positive, wide
from kdjax.losses._labels import class_numbers

_EPSILON = 1e-7  # in both denominators, as in the authors' code
_UNSET = -1.0  # a log Z not yet set


def crd_constants(
    student: ArrayLike,
    teacher: ArrayLike,
    student_bank: ArrayLike,
    teacher_bank: ArrayLike,
    contrast: ArrayLike,
    constants: ArrayLike,
    *,
    temperature: ArrayLike = 0.07,
    axis_name: AxisName = None,
) -> jax.Array:
    """The logarithms of the two normalisers of `crd`: set from the batch of the first call, and for ever kept.

        log Z = log(N mean_ij exp(<bank row c_ij, anchor i> / T))

    Begin with `-jnp.ones(2)`: -1 is the mark of one not yet set, all else is kept as it is. No gradient flows into them. Z
    itself would overflow where T is below 0.01.

    Args:
      student: embeddings `[B, D]`; only their direction counts.
      teacher: embeddings `[B, D]` of the same images.
      student_bank: `[N, D]`.
      teacher_bank: `[N, D]`.
      contrast: bank rows `[B, 1 + K]` as from `crd_contrast`, the positive first.
      constants: log Z `[2]`: of the student as anchor, and of the teacher as anchor; -1 where not yet set.
      temperature: T, a number above 0.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[2]`, float32 or wider.

    Raises:
      InputError: for other shapes, or a temperature that is not above 0.

    Reference:
      Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    >>> zero, bank = jnp.zeros((1, 3)), jnp.zeros((5, 3))
    >>> logs = crd_constants(zero, zero, bank, bank, jnp.array([[0, 1, 2]]), jnp.array([-1.0, 7.0]))
    >>> [round(x, 4) for x in logs.tolist()]  # log 5
    [1.6094, 7.0]
    """
    _check(student, teacher, student_bank, teacher_bank, contrast, constants)
    check_positive("temperature", temperature)
    scores = _scores(student, teacher, student_bank, teacher_bank, contrast, temperature)
    kept, first = wide(constants), []
    for score in lax.stop_gradient(scores):
        top = collectives.largest(score, axis_name)
        first.append(top + jnp.log(np.shape(student_bank)[0] * collectives.mean(jnp.exp(score - top), axis_name=axis_name)))
    return lax.stop_gradient(jnp.where(kept == _UNSET, jnp.stack(first), kept))


def crd(
    student: ArrayLike,
    teacher: ArrayLike,
    student_bank: ArrayLike,
    teacher_bank: ArrayLike,
    contrast: ArrayLike,
    constants: ArrayLike,
    *,
    temperature: ArrayLike = 0.07,
) -> jax.Array:
    """Noise-contrastive estimation of which of 1 + K bank rows is the same image, with the student and the teacher as anchor.

        sum of both anchors of  -log(x_0 / (x_0 + c)) - sum_{j = 1..K} log((K / N) / (x_j + c)),   c = K / N + 1e-7
        x_j = exp(<bank row j, anchor> / T) / Z

    The student is scored against the teacher's bank and the teacher against the student's; the sum over negatives is not
    divided by K. Gradients flow into *both* embeddings, since the method learns a linear embedding of the teacher's feature as
    well; none flows into banks and constants. Move the banks (`crd_update`) only after this.

    Args:
      student: embeddings `[B, D]`; only their direction counts.
      teacher: embeddings `[B, D]` of the same images.
      student_bank: `[N, D]`.
      teacher_bank: `[N, D]`.
      contrast: bank rows `[B, 1 + K]` as from `crd_contrast`, the positive first. A row outside the bank gives NaN.
      constants: log Z `[2]` from `crd_constants`, of the student as anchor and of the teacher as anchor.
      temperature: T, a number above 0.

    Returns:
      `[B]`, in nats. The paper weighs its mean by 0.8. Where all rows score alike it is `2 (log(1 + K) + K log(1 + 1 / K))`.

    Raises:
      InputError: for other shapes, or a temperature that is not above 0.

    Reference:
      Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    >>> zero, bank = jnp.zeros((1, 3)), jnp.zeros((5, 3))
    >>> contrast = jnp.array([[0, 1]])
    >>> constants = crd_constants(zero, zero, bank, bank, contrast, -jnp.ones(2))
    >>> print(f"{crd(zero, zero, bank, bank, contrast, constants)[0]:.4f}")  # 2 (log 2 + log 2)
    2.7726
    """
    _check(student, teacher, student_bank, teacher_bank, contrast, constants)
    check_positive("temperature", temperature)
    scores = _scores(student, teacher, student_bank, teacher_bank, contrast, temperature)
    noise = (np.shape(contrast)[1] - 1) / np.shape(student_bank)[0]
    c = noise + _EPSILON
    log_z = lax.stop_gradient(wide(constants))
    sides = []
    for score, z in zip(scores, log_z, strict=True):
        # log(x / c): its sigmoid is x / (x + c), which stays finite where x does not.
        odds = score - z - math.log(c)
        negatives = math.log(noise / c) + jax.nn.log_sigmoid(-odds[:, 1:])
        sides.append(-jax.nn.log_sigmoid(odds[:, 0]) - jnp.sum(negatives, axis=1))
    return sides[0] + sides[1]


def crd_in_batch(
    student: ArrayLike, teacher: ArrayLike, labels: ArrayLike, *, temperature: ArrayLike = 0.07, axis_name: AxisName = None
) -> jax.Array:
    """The contrast of `crd` within a batch, without a bank: a softmax instead of noise-contrastive estimation.

        mean_i sum of both anchors of  -log(exp(<s_i, t_i> / T) / (exp(<s_i, t_i> / T) + sum_{j: y_j != y_i} exp(<s_i, t_j> / T)))

    With the student as anchor the others are the teacher's embeddings, and the other way round. Rows of the same class are
    left out, as in `crd`; with a label of its own for each row, all other rows are negatives. There are no constants and
    nothing lags behind, but the batch must be large. Gradients flow into both embeddings.

    Args:
      student: embeddings `[B, D]`; only their direction counts.
      teacher: embeddings `[B, D]` of the same images.
      labels: class numbers `[B]` (an integer type).
      temperature: T, a number above 0.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in nats.

    Raises:
      InputError: for other shapes, labels that are not integers, or a temperature that is not above 0.

    Reference:
      Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699, for the pairs; the softmax
      is that of van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", arXiv 1807.03748. The
      authors' code has no such variant.

    >>> rows = jnp.eye(2)
    >>> print(f"{crd_in_batch(rows, rows, jnp.array([0, 1]), temperature=1.0):.4f}")  # 2 log(1 + 1 / e)
    0.6265
    """
    sizes = check_shapes("B D", student=student, teacher=teacher)
    labels = class_numbers(labels, sizes)
    check_positive("temperature", temperature)
    t, rows = wide(temperature), labels.shape[0]
    all_labels = collectives.gather(labels, axis_name)
    own = collectives.offset(rows, axis_name) + jnp.arange(rows)
    pair = own[:, None] == jnp.arange(all_labels.shape[0])[None]
    counts = pair | (labels[:, None] != all_labels[None])
    s, teach = unit(wide(student), axis=1), unit(wide(teacher), axis=1)
    each = jnp.zeros(rows, s.dtype)
    for anchor, other in ((s, teach), (teach, s)):
        scores = jnp.matmul(anchor, collectives.gather(other, axis_name).T, precision=lax.Precision.HIGHEST) / t
        each += jax.nn.logsumexp(jnp.where(counts, scores, -jnp.inf), axis=1) - jnp.sum(jnp.where(pair, scores, 0.0), axis=1)
    return collectives.mean(each, axis_name=axis_name)


def _check(student, teacher, student_bank, teacher_bank, contrast, constants):
    sizes = check_shapes("B D", student=student, teacher=teacher)
    sizes = check_shapes("N D", sizes, student_bank=student_bank, teacher_bank=teacher_bank)
    check_shapes("B 1+K", sizes, contrast=contrast)
    if np.shape(contrast)[1] < 2:
        raise InputError(f"contrast has shape {np.shape(contrast)}: expected [B, 1+K] with K of at least 1")
    if np.shape(constants) != (2,):
        raise InputError(f"constants has shape {np.shape(constants)}: expected (2,)")


def _scores(student, teacher, student_bank, teacher_bank, contrast, temperature):
    """`[B, 1 + K]` with the student as anchor, and with the teacher as anchor."""

    def against(anchor, bank):
        # Full float32 on every device: the small temperature magnifies rounding.
        rows = wide(collectives.take(lax.stop_gradient(jnp.asarray(bank)), jnp.asarray(contrast)))
        dots = jnp.einsum("bkd,bd->bk", rows, unit(wide(anchor), axis=1), precision=lax.Precision.HIGHEST)
        return dots / wide(temperature)

    return against(student, teacher_bank), against(teacher, student_bank)
