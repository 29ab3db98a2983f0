"""Twin class distributions: what two views of an image, each softly classified, tell of one another."""

import math

import jax
import jax.numpy as jnp

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import check_rows
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, check_positive, wide
from kdjax.losses._softmax import log_probabilities, probabilities, times_log
from kdjax.losses._views import check_views, swapped
from kdjax.losses.logits import cross_entropy


def twist(
    logits1: ArrayLike,
    logits2: ArrayLike,
    *,
    lam1: ArrayLike = 0.0,
    lam2: ArrayLike = 1.0,
    temperature: ArrayLike = 1.0,
    epsilon: ArrayLike = 1e-5,
    axis_name: AxisName = None,
) -> jax.Array:
    """Two views agree, each is sure, and the batch as a whole uses all classes.

        K + (1 + lam1) S - lam2 D
        K = mean_n (KL(p_1 || p_2) + KL(p_2 || p_1)) / 2,                         p_v = softmax(logits_v)
        S = mean_n (H(s_1) + H(s_2)) / 2,   D = (H(mean_n s_1) + H(mean_n s_2)) / 2,   s_v = softmax(logits_v / T)

    Epsilon is added inside every logarithm. The gradient flows through both views. The method's logits are those of a batch norm
    without scale and offset; without that and without D, which needs many rows a class, all images end in one class.

    Args:
      logits1: of one view, `[B, K]`.
      logits2: of the other, `[B, K]`.
      lam1: added to the weight 1 of S: 0 for convolutional nets, -0.6 for transformers.
      lam2: weight of D.
      temperature: T of the two entropies, a number above 0.
      epsilon: at least 0.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in nats.

    Raises:
      InputError: for other or unequal shapes, a single row (then D = S), or options out of range.

    Reference:
      Wang, Kong, Zhang, Liu, Li, "Self-Supervised Learning by Estimating Twin Class Distributions", arXiv 2110.07402. The authors'
      code on N processes takes the entropy of N times the mean, with N epsilon: the same gradient, another value.

    >>> sure = 100 * jnp.eye(4)  # as good as can be: -log 4
    >>> print(f"{twist(sure, sure):.3f}")
    -1.386
    """
    sizes = check_shapes("B K", logits1=logits1, logits2=logits2)
    _check_options(lam1, lam2, temperature, epsilon)
    check_rows(sizes["B"][0], axis_name, "twist")

    e = wide(epsilon)
    p1, p2 = (log_probabilities(z) for z in (logits1, logits2))
    log1, log2 = _log_plus(p1, e), _log_plus(p2, e)
    both_masked = jnp.isneginf(log1) & jnp.isneginf(log2)
    # The two divergences in one product, which is exact where the views nearly agree.
    apart = (jnp.exp(p1) - jnp.exp(p2)) * jnp.where(both_masked, 0.0, log1 - log2)
    agreement = collectives.mean(jnp.sum(apart, axis=-1), axis_name=axis_name) / 2
    sharpness, diversity = _entropies([log_probabilities(z, temperature) for z in (logits1, logits2)], e, axis_name)
    return agreement + (1 + wide(lam1)) * sharpness - wide(lam2) * diversity


def twist_teacher(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    lam1: ArrayLike = -0.6,
    lam2: ArrayLike = 1.0,
    temperature: ArrayLike = 1.0,
    epsilon: ArrayLike = 1e-5,
    axis_name: AxisName = None,
) -> jax.Array:
    """`twist` with a teacher: every view agrees with what the slow network makes of other views.

        K + (1 + lam1) S - lam2 D
        K = mean over a < A, v < V with v != a, and n of  KL(t_a || s_v),   t = softmax(teacher / T),   s = softmax(student / T)
        S = mean over v and n of  H(s_v),   D = mean over v of  H(mean_n s_v)

    Epsilon is added inside every logarithm. The gradient stops at the teacher.

    Args:
      student: logits `[V, B, K]` of all views, the A that the teacher has seen first.
      teacher: logits `[A, B, K]` of the first A views, as a rule the two large crops.
      lam1: added to the weight 1 of S; the default is the paper's for transformers.
      lam2: weight of D.
      temperature: T, a number above 0.
      epsilon: at least 0.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in nats.

    Raises:
      InputError: for other shapes, fewer than two views, a teacher without a view or with more than the student, a single row, or
        options out of range.

    Reference:
      Wang, Kong, Zhang, Liu, Li, "Self-Supervised Learning by Estimating Twin Class Distributions", arXiv 2110.07402. That D and S
      count all views, and that T divides on both sides of K, is told by the authors' code.

    >>> sure = 100 * jnp.eye(4)[None].repeat(2, 0)  # as good as can be: -log 4
    >>> print(f"{twist_teacher(sure, sure):.3f}")
    -1.386
    """
    sizes = check_views({"student": student}, {"teacher": teacher})
    _check_options(lam1, lam2, temperature, epsilon)
    check_rows(sizes["B"][0], axis_name, "twist")

    e = wide(epsilon)
    s = log_probabilities(student, temperature)
    t = log_probabilities(jax.lax.stop_gradient(jnp.asarray(teacher)), temperature)
    given = jnp.sum(times_log(jnp.exp(t), _log_plus(t, e)), axis=-1)
    agreement = collectives.mean(given, axis_name=axis_name) + swapped(_log_plus(s, e), jnp.exp(t), axis_name)
    sharpness, diversity = _entropies(list(s), e, axis_name)
    return agreement + (1 + wide(lam1)) * sharpness - wide(lam2) * diversity


def self_label(weak: ArrayLike, strong: ArrayLike, *, threshold: ArrayLike, axis_name: AxisName = None) -> jax.Array:
    """The cross-entropy of one view with the decision of another, over the images of which that other is sure.

        mean over n with max softmax(weak)[n] > threshold of  -log softmax(strong)[n, argmax weak[n]]

    No gradient flows into the weak view. TWIST, in its last epochs, takes the surer of two large crops for the weak view and every
    other crop in turn for the strong one; its threshold is, of the batch's largest probabilities in descending order, the one at
    place floor(rho B) from 0, so that floor(rho B) images count.

    Args:
      weak: logits `[B, K]` of the view that decides.
      strong: logits `[B, K]` of the view that learns.
      threshold: that the largest probability must exceed, in [0, 1].
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in nats; 0 where no image counts.

    Raises:
      InputError: for other or unequal shapes, or a threshold outside [0, 1].

    Reference:
      Wang, Kong, Zhang, Liu, Li, "Self-Supervised Learning by Estimating Twin Class Distributions", arXiv 2110.07402; after Van
      Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool, "SCAN: Learning to Classify Images without Labels", ECCV 2020,
      arXiv 2005.12320, which balances the classes on top.

    >>> weak, strong = jnp.array([[9.0, 0.0], [0.1, 0.0]]), jnp.zeros((2, 2))
    >>> print(f"{self_label(weak, strong, threshold=0.9):.4f}")  # log 2, of the first alone
    0.6931
    """
    check_shapes("B K", weak=weak, strong=strong)
    check_number("threshold", threshold, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    sure = jnp.max(probabilities(weak), axis=-1) > wide(threshold)
    decided = jnp.argmax(jnp.asarray(weak), axis=-1)
    return collectives.mean(cross_entropy(strong, decided, where=sure), sure, axis_name)


def _check_options(lam1: ArrayLike, lam2: ArrayLike, temperature: ArrayLike, epsilon: ArrayLike) -> None:
    for name, weight in (("lam1", lam1), ("lam2", lam2)):
        check_number(name, weight, math.isfinite, "a finite number")
    check_positive("temperature", temperature)
    check_number("epsilon", epsilon, lambda v: 0 <= v < math.inf, "a finite number, at least 0")


def _entropies(views: list[jax.Array], epsilon: jax.Array, axis_name: AxisName) -> tuple[jax.Array, jax.Array]:
    """Of the logarithms `[B, K]` of every view: the mean entropy of an image, and the entropy of the mean image."""
    sharpness, diversity = [], []
    for log_s in views:
        s = jnp.exp(log_s)
        sharpness.append(-collectives.mean(jnp.sum(times_log(s, _log_plus(log_s, epsilon)), axis=-1), axis_name=axis_name))
        m = collectives.pmean(jnp.mean(s, axis=0), axis_name)
        # Without epsilon a class that nobody has counts 0, and its gradient stays finite.
        diversity.append(-jnp.sum(m * jnp.log(jnp.maximum(m + epsilon, jnp.finfo(m.dtype).tiny))))
    return sum(sharpness) / len(views), sum(diversity) / len(views)  # type: ignore[return-value]


def _log_plus(log_p: jax.Array, epsilon: jax.Array) -> jax.Array:
    """`log(p + epsilon)`, also of a masked class and without epsilon."""
    out, log_e = jnp.isneginf(log_p), jnp.log(epsilon)
    return jnp.where(out, log_e, jnp.logaddexp(jnp.where(out, 0.0, log_p), log_e))
