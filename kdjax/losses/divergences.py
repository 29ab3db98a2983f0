"""Divergences between the predictions of language models, at any number of positions."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from kdjax.core.arrays import ArrayLike
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_flag, check_number, temperatures, wide
from kdjax.losses._positions import counted, shown
from kdjax.losses._softmax import divergence, log_probabilities, log_sum

_SHARE = "a number in [0, 1]"


def reverse_kl(
    student: ArrayLike, teacher: ArrayLike, *, temperature: ArrayLike = 1.0, where: ArrayLike | None = None
) -> jax.Array:
    """The divergence of the teacher's prediction from the student's: it seeks one of the teacher's modes, and does not cover all.

        sum_k p_s[k] (log p_s[k] - log p_t[k]),   p = softmax(logits / T)

    There is no factor T^2. The gradient stops at the teacher.

    Args:
      student: logits `[..., K]`.
      teacher: logits `[..., K]`.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats.

    Raises:
      InputError: for other shapes, or a temperature that is not above 0.

    Reference:
      Gu, Dong, Wei, Huang, "MiniLLM: Knowledge Distillation of Large Language Models", ICLR 2024, arXiv 2306.08543: the term of one
      position, without its sampling of texts.

    >>> one, other = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.75]))
    >>> print(f"{reverse_kl(one, other):.4f}")
    0.1438
    """
    log_s, log_t = _sides(student, teacher, temperature, where)
    return counted(jnp.sum(divergence(log_s, log_t), axis=-1), where)


def generalised_jensen_shannon(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    beta: ArrayLike = 0.5,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The Jensen-Shannon divergence between forward (`beta=0`) and reverse (`beta=1`) Kullback-Leibler divergence.

        beta KL(P || M) + (1 - beta) KL(Q || M),   M = beta P + (1 - beta) Q,   P = softmax(teacher / T),  Q = softmax(student / T)

    At the two ends this is 0 for all P and Q; divided by beta, or by 1 - beta, it tends to KL(P || Q) and KL(Q || P), and these are
    what `beta=0` and `beta=1` give, as in the code that is in use. There is no factor T^2. The gradient stops at the teacher.

    Args:
      student: logits `[..., K]`.
      teacher: logits `[..., K]`.
      beta: from 0 to 1.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats; at most log 2 for `beta=0.5`.

    Raises:
      InputError: for other shapes, a temperature that is not above 0, or a beta outside [0, 1].

    Reference:
      Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem, "On-Policy Distillation of Language Models: Learning from
      Self-Generated Mistakes" (GKD), ICLR 2024, arXiv 2306.13649.

    >>> one, other = jnp.array([100.0, 0.0]), jnp.array([0.0, 100.0])
    >>> print(f"{generalised_jensen_shannon(one, other):.4f}")
    0.6931
    """
    check_number("beta", beta, lambda b: 0 <= b <= 1, _SHARE)
    log_s, log_t = _sides(student, teacher, temperature, where)
    traced = isinstance(beta, Tracer)
    if not traced and beta in (0, 1):
        ends = (log_t, log_s) if beta == 0 else (log_s, log_t)
        return counted(jnp.sum(divergence(*ends), axis=-1), where)
    beta = wide(beta)
    inner = jnp.where((beta > 0) & (beta < 1), beta, 0.5)
    log_m = _mix(log_t, log_s, inner)
    found = inner * divergence(log_t, log_m) + (1 - inner) * divergence(log_s, log_m)
    if traced:
        found = jnp.where(beta == 0, divergence(log_t, log_s), jnp.where(beta == 1, divergence(log_s, log_t), found))
    return counted(jnp.sum(found, axis=-1), where)


def skewed_kl(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    skew: ArrayLike = 0.1,
    reverse: bool = False,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """A Kullback-Leibler divergence from a mixture of both predictions, so that it is bounded and its gradient calm.

        KL(P || skew P + (1 - skew) Q),   or with `reverse`   KL(Q || (1 - skew) P + skew Q)

    Here P = softmax(teacher / T) and Q = softmax(student / T). `skew=0` is the plain divergence. There is no factor T^2. The
    gradient stops at the teacher.

    Args:
      student: logits `[..., K]`.
      teacher: logits `[..., K]`.
      skew: the share of the side in front, in [0, 1).
      reverse: whether the student's prediction stands in front.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats; at most -log skew.

    Raises:
      InputError: for other shapes, a temperature that is not above 0, or a skew outside [0, 1).

    Reference:
      Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", ICML 2024, arXiv 2402.03898.

    >>> one, other = jnp.array([1000.0, 0.0]), jnp.array([0.0, 1000.0])
    >>> print(f"{skewed_kl(one, other, skew=0.5):.4f}")
    0.6931
    """
    check_number("skew", skew, lambda s: 0 <= s < 1, "a number in [0, 1)")
    check_flag("reverse", reverse)
    log_s, log_t = _sides(student, teacher, temperature, where)
    front, back = (log_s, log_t) if reverse else (log_t, log_s)
    mixed = back if not isinstance(skew, Tracer) and skew == 0 else _mix(front, back, wide(skew))
    return counted(jnp.sum(divergence(front, mixed), axis=-1), where)


def _sides(student, teacher, temperature, where):
    """The logarithms of both predictions."""
    check_shapes("... K", student=student, teacher=teacher)
    t = temperatures(temperature, np.shape(student)[:-1])
    student, teacher = shown(where, student, teacher)
    return log_probabilities(student, t), log_probabilities(lax.stop_gradient(teacher), t)


def _mix(log_p: jax.Array, log_q: jax.Array, share: jax.Array) -> jax.Array:
    """`log(share P + (1 - share) Q)`; -inf, with gradient 0, where both are 0."""
    return log_sum(jnp.stack([log_p + jnp.log(share), log_q + jnp.log1p(-share)], -1))[..., 0]
