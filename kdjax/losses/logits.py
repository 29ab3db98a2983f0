"""Losses on class logits: distillation, cross-entropy and the Jensen-Shannon divergence."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_flag, check_number, temperatures, wide
from kdjax.losses._labels import at_label, class_numbers
from kdjax.losses._positions import counted, shown
from kdjax.losses._softmax import divergence, log_probabilities, times_log


def kl_distillation(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    stop_teacher: bool = True,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The divergence of the student's softened prediction from the teacher's, times the squared temperature.

        T^2 sum_k p_t[k] (log p_t[k] - log p_s[k]),   p = softmax(logits / T)

    The factor T^2 keeps the size of the gradient when T changes. The gradient stops at the teacher unless
    `stop_teacher=False`. Logits may be -inf (masked classes): a class to which the teacher gives nothing counts 0, with
    gradient 0; one that the student alone has masked makes the row infinite.

    Args:
      student: logits `[..., K]`.
      teacher: logits `[..., K]`.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`; 4 is that of the
        benchmarks on CIFAR-100.
      stop_teacher: False lets the gradient through the teacher's logits too. A generator or an image that is moved to
        make teacher and student disagree needs both sides.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats times T^2.

    Raises:
      InputError: for other shapes, or a temperature that is not above 0.

    Reference:
      Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", NIPS Deep Learning Workshop 2014,
      arXiv 1503.02531. The paper has the cross-entropy of the softened predictions, which differs by a constant.

    >>> logits = jnp.array([[2.0, 0.0, -1.0]])
    >>> float(kl_distillation(logits, logits, temperature=4.0)[0])
    0.0
    """
    check_shapes("... K", student=student, teacher=teacher)
    t = temperatures(temperature, np.shape(student)[:-1])
    check_flag("stop_teacher", stop_teacher)
    student, teacher = shown(where, student, teacher)
    log_s = log_probabilities(student, t)
    log_t = log_probabilities(lax.stop_gradient(teacher) if stop_teacher else teacher, t)
    return counted(t**2 * jnp.sum(divergence(log_t, log_s), axis=-1), where)


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    smoothing: ArrayLike = 0.0,
    others: bool = False,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The cross-entropy of a prediction with its label.

        -sum_k q[k] log softmax(logits)[k],   q = (1 - smoothing) label + smoothing / K

    The smoothing mass is spread evenly over all K classes, the true one included, as in Szegedy et al. and in PyTorch; with
    `others` over the other K - 1, q = (1 - smoothing) label + smoothing (1 - label) / (K - 1). No gradient flows into the
    labels. A masked class, of logit -inf, counts 0 where q is 0.

    Args:
      logits: `[..., K]`.
      labels: class numbers `[...]` (integers, or bool for two classes), or distributions over the classes `[..., K]`.
      smoothing: the mass that is spread, in [0, 1].
      others: whether the true class gets nothing of it, as in Self-KD-Lib; then K is 2 or more.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats. The row of a class number outside [0, K) is NaN.

    Raises:
      InputError: for other shapes, class numbers that are not integers, a smoothing outside [0, 1], or `others` of one class.

    Reference:
      Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
      arXiv 1512.00567 (label smoothing).

    >>> logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    >>> print(f"{cross_entropy(logits, jnp.array([0]))[0]:.4f}")
    0.6931
    """
    sizes = check_shapes("... K", logits=logits)
    labels = jnp.asarray(labels)
    numbers = labels.ndim < np.ndim(logits)
    if numbers:
        labels = class_numbers(labels, sizes)
    else:
        check_shapes("... K", sizes, labels=labels)
    check_number("smoothing", smoothing, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    check_flag("others", others)
    classes = np.shape(logits)[-1]
    if others and classes < 2:
        raise InputError(f"logits has shape {np.shape(logits)}: expected [..., K] with K of at least 2, for others=True")
    logits, labels = shown(where, logits, labels)
    # What the true class would get of the mass over all of them is taken from it first.
    log_p, spread = log_probabilities(logits), wide(smoothing) * (classes / (classes - 1) if others else 1)
    hit = at_label(log_p, labels) if numbers else jnp.sum(times_log(lax.stop_gradient(wide(labels)), log_p), axis=-1)
    return counted(-(times_log(1 - spread, hit) + times_log(spread, jnp.mean(log_p, axis=-1))), where)


def jensen_shannon(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 3.0,
    clip: ArrayLike = 0.01,
    reverse: bool = True,
    stop_teacher: bool = False,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The Jensen-Shannon divergence of two softened predictions, as the data-free methods compute it.

        (KL(M || P) + KL(M || Q)) / 2,   P = softmax(teacher / T),  Q = softmax(student / T),  M = (P + Q) / 2

    M is made from the unclipped P and Q; then all three are limited to [clip, 1 - clip] and not normalised again.
    There is no factor T^2. All released code has this order of arguments, and it is the default; the textbook
    divergence `(KL(P || M) + KL(Q || M)) / 2`, at most log 2, is `reverse=False, clip=0`.

    Unlike in `kl_distillation`, the gradient flows through both sides by default: this term moves images, not students.

    Args:
      student: logits `[..., K]`.
      teacher: logits `[..., K]`.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`;
        DeepInversion has 3.
      clip: probabilities are limited to [clip, 1 - clip]; in [0, 0.5), 0 for none.
      reverse: False for the textbook order of arguments.
      stop_teacher: True stops the gradient at the teacher.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats.

    Raises:
      InputError: for other shapes, a temperature that is not above 0, or a clip outside [0, 0.5).

    Reference:
      Yin, Molchanov, Li, Alvarez, Mallya, Hoiem, Jha, Kautz, "Dreaming to Distill: Data-free Knowledge Transfer via
      DeepInversion", CVPR 2020, arXiv 1912.08795. The paper has the textbook divergence, the authors' code the
      default here.

    >>> a, b = jnp.array([[100.0, 0.0]]), jnp.array([[0.0, 100.0]])
    >>> print(f"{jensen_shannon(a, b, temperature=1.0, clip=0.0, reverse=False)[0]:.4f}")
    0.6931
    """
    check_shapes("... K", student=student, teacher=teacher)
    t = temperatures(temperature, np.shape(student)[:-1])
    check_number("clip", clip, lambda v: 0 <= v < 0.5, "a number in [0, 0.5)")
    check_flag("reverse", reverse)
    check_flag("stop_teacher", stop_teacher)
    student, teacher = shown(where, student, teacher)
    log_p = log_probabilities(lax.stop_gradient(teacher) if stop_teacher else teacher, t)
    log_q = log_probabilities(student, t)
    none = jnp.isneginf(log_p) & jnp.isneginf(log_q)
    both = jnp.logaddexp(*(jnp.where(none, 0.0, x) for x in (log_p, log_q)))  # two of -inf would have the gradient NaN
    log_m = jnp.where(none, -jnp.inf, both - jnp.log(2.0))
    # Clipping the logarithms is clipping the probabilities, and stays finite where a probability underflows.
    low, high = jnp.log(wide(clip)), jnp.log1p(-wide(clip))
    log_p, log_q, log_m = (jnp.clip(x, low, high) for x in (log_p, log_q, log_m))
    sides = [(log_m, x) if reverse else (x, log_m) for x in (log_p, log_q)]
    first, second = (jnp.sum(divergence(*side), axis=-1) for side in sides)
    return counted(0.5 * (first + second), where)
