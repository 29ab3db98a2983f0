"""Self-distillation of views: the student predicts the centred, sharpened output of its own slow copy."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.ema import ema
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, check_positive, wide
from kdjax.losses._softmax import log_probabilities, probabilities
from kdjax.losses._views import check_views, swapped


def dino(
    student: ArrayLike,
    teacher: ArrayLike,
    centre: ArrayLike,
    *,
    student_temperature: ArrayLike = 0.1,
    teacher_temperature: ArrayLike = 0.04,
    axis_name: AxisName = None,
) -> jax.Array:
    """The cross-entropy of the teacher's view with the student's other views, the mean over all pairs and the batch.

        mean over a < A, v < V with v != a, and n of  -sum_k P_t[a, n, k] log P_s[v, n, k]
        P_t = softmax((teacher - centre) / T_t),   P_s = softmax(student / T_s)

    The centre keeps one output from winning everywhere, the low temperature of the teacher keeps all from being equal. It is that
    of *before* this batch; `dino_centre` moves it afterwards. The gradient stops at teacher and centre.

    Args:
      student: logits `[V, B, K]` of all views, the A that the teacher has seen first.
      teacher: logits `[A, B, K]` of the first A views, as a rule the two large crops.
      centre: `[K]`.
      student_temperature: T_s, a number above 0; the paper has 0.1.
      teacher_temperature: T_t, a number above 0; the paper has 0.04, rising to 0.07 over the first epochs.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in nats.

    Raises:
      InputError: for other shapes, fewer than two views, a teacher without a view or with more than the student, or a temperature
        that is not above 0.

    Reference:
      Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin, "Emerging Properties in Self-Supervised Vision Transformers",
      ICCV 2021, arXiv 2104.14294.

    >>> views = jnp.zeros((2, 1, 4))  # nobody knows anything: log 4
    >>> print(f"{dino(views, views, jnp.zeros(4), student_temperature=0.1, teacher_temperature=0.04):.4f}")
    1.3863
    """
    sizes = check_views({"student": student}, {"teacher": teacher})
    check_shapes("K", sizes, centre=centre)
    check_positive("student_temperature", student_temperature)
    check_positive("teacher_temperature", teacher_temperature)
    t, c = (lax.stop_gradient(wide(x)) for x in (teacher, centre))
    # A masked class stays masked, also where its centre has become -inf.
    centred = jnp.where(jnp.isneginf(t), -jnp.inf, t - c.reshape(1, 1, -1))
    return swapped(log_probabilities(student, student_temperature), probabilities(centred, teacher_temperature), axis_name)


def dino_centre(centre: ArrayLike, teacher: ArrayLike, *, momentum: ArrayLike = 0.9, axis_name: AxisName = None) -> jax.Array:
    """The centre after a step: it moves towards the mean output of the teacher.

        momentum centre + (1 - momentum) (mean over views and the batch of teacher)

    The logits themselves are averaged, before any softmax. No gradient flows.

    Args:
      centre: `[K]`, zeros at the start.
      teacher: logits `[A, B, K]`, those that the loss of this step has seen.
      momentum: in [0, 1].
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[K]`, the type of `centre`; the same on all devices.

    Raises:
      InputError: for other shapes, or a momentum outside [0, 1].

    Reference:
      Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin, "Emerging Properties in Self-Supervised Vision Transformers",
      ICCV 2021, arXiv 2104.14294.

    >>> dino_centre(jnp.zeros(2), jnp.array([[[1.0, 0.0], [3.0, 0.0]]]), momentum=0.5).tolist()
    [1.0, 0.0]
    """
    check_shapes("A B K", check_shapes("K", centre=centre), teacher=teacher)
    check_number("momentum", momentum, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    mean = collectives.pmean(jnp.mean(wide(teacher), axis=(0, 1)), axis_name)
    return lax.stop_gradient(ema(jnp.asarray(centre), mean, wide(momentum)))
