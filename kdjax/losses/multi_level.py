"""Multi-level logit distillation: predictions, relations of classes and relations of rows, at several temperatures."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_flag, check_number, check_positive, wide
from kdjax.losses._positions import shown
from kdjax.losses._softmax import probabilities
from kdjax.losses.logits import kl_distillation


def class_correlation(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
) -> jax.Array:
    """How far the relations of classes over the batch are apart.

        |p_t' p_t - p_s' p_s|_F^2 / K,   p = softmax(logits / T),  a `[B, K]` matrix with the transpose p'

    There is no factor T^2, and the products are sums over the batch, not means. The gradient stops at the teacher.

    Args:
      student: logits `[B, K]`.
      teacher: logits `[B, K]`.
      temperature: T, a number above 0.
      where: bool `[B]`, the rows that count, as if the others were not there; 0 where none does. None: all count.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for other shapes, or a temperature that is not above 0.

    Reference:
      Jin, Wang, Lin, "Multi-level Logit Distillation", CVPR 2023.

    >>> a, b = jnp.array([[100.0, 0.0]]), jnp.array([[0.0, 100.0]])
    >>> class_correlation(a, b, temperature=1.0)
    Array(1., dtype=float32)
    """
    check_shapes("B K", student=student, teacher=teacher)
    check_positive("temperature", temperature)
    s, t, kept = _gathered(student, teacher, where, axis_name)
    return collectives.pmean(jnp.mean(_classes_apart(s, t, temperature, kept)), axis_name)


def batch_correlation(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
) -> jax.Array:
    """How far the relations of a batch's rows are apart.

        |p_t p_t' - p_s p_s'|_F^2 / B,   p = softmax(logits / T),  a `[B, K]` matrix with the transpose p'

    There is no factor T^2. The gradient stops at the teacher.

    Args:
      student: logits `[B, K]`.
      teacher: logits `[B, K]`.
      temperature: T, a number above 0.
      where: bool `[B]`, the rows that count, as if the others were not there; 0 where none does. None: all count.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for other shapes, or a temperature that is not above 0.

    Reference:
      Jin, Wang, Lin, "Multi-level Logit Distillation", CVPR 2023.

    >>> same, other = jnp.array([[100.0, 0.0], [100.0, 0.0]]), jnp.array([[100.0, 0.0], [0.0, 100.0]])
    >>> batch_correlation(same, other, temperature=1.0)
    Array(1., dtype=float32)
    """
    check_shapes("B K", student=student, teacher=teacher)
    check_positive("temperature", temperature)
    s, t, kept = _gathered(student, teacher, where, axis_name)
    return collectives.pmean(collectives.mean(_rows_apart(s, t, temperature, kept), kept), axis_name)


def multi_level(
    student_weak: ArrayLike,
    student_strong: ArrayLike,
    teacher_weak: ArrayLike,
    teacher_strong: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    instance_weight: ArrayLike = 1.0,
    class_weight: ArrayLike = 1.0,
    batch_weight: ArrayLike = 1.0,
    per_row: bool = False,
    axis_name: AxisName = None,
) -> jax.Array:
    """Distillation of a weakly and a strongly augmented view at three levels and five temperatures.

        instance (m sum_S KD_t(weak) + sum_{T, 3, 5} KD_t(strong) + sum_{2, 6} KD_t(weak))
        + class m_c sum_S CC_t(weak) + batch m sum_S BC_t(weak),        S = (T, 2, 3, 5, 6)

    KD_t is the batch mean of `kl_distillation`, CC_t `class_correlation`, BC_t `batch_correlation`. m is the share of rows whose
    largest probability, by the teacher on the weak view, is at most the median of the batch; m_c the share of classes whose
    summed probability is at most the median of the classes. Both are numbers near 1/2, for the authors' code masks sums that
    are already reduced. `per_row=True` masks what the method is after instead: of KD_t(weak) the rows, of CC_t the classes and
    of BC_t the rows at which the teacher is at least as confident as the median; each sum is still divided by all of B or K.
    The gradient stops at the teacher.

    Args:
      student_weak: the student's logits `[B, K]` of the weak view (crop, flip).
      student_strong: the student's logits `[B, K]` of the strong view of the same images.
      teacher_weak: the teacher's logits `[B, K]` of the weak view.
      teacher_strong: the teacher's logits `[B, K]` of the strong view.
      temperature: T, a number above 0; the others of S are fixed.
      instance_weight: weight of the predictions, at least 0.
      class_weight: weight of the relations of classes, at least 0.
      batch_weight: weight of the relations of rows, at least 0.
      per_row: True masks rows and classes; False is the authors' code, which made the published numbers.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0. The cross-entropy of both views comes on top; the benchmark multiplies this term by 0.9 or 9.

    Raises:
      InputError: for other shapes, a temperature that is not above 0, a negative weight, or a `per_row` that is no flag.

    Reference:
      Jin, Wang, Lin, "Multi-level Logit Distillation", CVPR 2023. The paper has all three levels on both views; the authors'
      code, followed here, leaves out CC and BC of the strong view and reads the weak one at temperatures 2 and 6.

    >>> logits = jnp.array([[2.0, 0.0], [0.0, 1.0]])
    >>> float(multi_level(logits, logits, logits, logits))
    0.0
    """
    views = (student_weak, student_strong, teacher_weak, teacher_strong)
    check_shapes(
        "B K",
        student_weak=student_weak,
        student_strong=student_strong,
        teacher_weak=teacher_weak,
        teacher_strong=teacher_strong,
    )
    check_positive("temperature", temperature)
    weights = {"instance_weight": instance_weight, "class_weight": class_weight, "batch_weight": batch_weight}
    for name, weight in weights.items():
        check_number(name, weight, lambda v: 0 <= v < math.inf, "a finite number, at least 0")
    check_flag("per_row", per_row)

    s_weak, s_strong, t_weak, t_strong = (collectives.gather(wide(x), axis_name) for x in views)
    sure = probabilities(lax.stop_gradient(t_weak))
    rows, classes = _kept(jnp.max(sure, axis=-1), per_row), _kept(jnp.sum(sure, axis=0), per_row)
    some = (temperature, 2.0, 3.0, 5.0, 6.0)
    # The uneven split of the temperatures over the views is the authors'.
    instance = jnp.mean(
        rows * sum(kl_distillation(s_weak, t_weak, temperature=t) for t in some)
        + sum(kl_distillation(s_strong, t_strong, temperature=t) for t in (temperature, 3.0, 5.0))
        + sum(kl_distillation(s_weak, t_weak, temperature=t) for t in (2.0, 6.0))
    )
    between_classes = jnp.mean(classes * sum(_classes_apart(s_weak, t_weak, t) for t in some))
    between_rows = jnp.mean(rows * sum(_rows_apart(s_weak, t_weak, t) for t in some))
    whole = wide(instance_weight) * instance + wide(class_weight) * between_classes + wide(batch_weight) * between_rows
    # All devices hold the same rows here; the average only says so.
    return collectives.pmean(whole, axis_name)


def _kept(confidence: jax.Array, per_row: bool) -> jax.Array:
    median = jnp.median(confidence)
    if per_row:
        return (confidence >= median).astype(confidence.dtype)
    return jnp.full_like(confidence, jnp.mean((confidence <= median).astype(confidence.dtype)))


def _gathered(student, teacher, where, axis_name):
    """The logits of all devices, and which of their rows count."""
    s, t = (collectives.gather(x, axis_name) for x in shown(where, student, teacher))
    return s, t, None if where is None else collectives.gather(jnp.asarray(where), axis_name)


def _classes_apart(student: jax.Array, teacher: jax.Array, temperature: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    """`[K]`: for each class the summed squares of its row of the difference of relations."""
    s, t = _predictions(student, teacher, temperature, where)
    return jnp.sum((_products(t.T) - _products(s.T)) ** 2, axis=-1)


def _rows_apart(student: jax.Array, teacher: jax.Array, temperature: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    """`[B]`: the same for each row of the batch."""
    s, t = _predictions(student, teacher, temperature, where)
    return jnp.sum((_products(t) - _products(s)) ** 2, axis=-1)


def _predictions(student, teacher, temperature, where) -> tuple[jax.Array, ...]:
    return shown(where, probabilities(student, temperature), probabilities(lax.stop_gradient(teacher), temperature))


def _products(x: jax.Array) -> jax.Array:
    # Full float32 on every device: the loss is a small difference of these.
    return jnp.matmul(x, x.T, precision=lax.Precision.HIGHEST)
