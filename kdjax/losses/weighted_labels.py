"""Soft labels with a weight an image."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.losses.logits import cross_entropy, kl_distillation

EPSILON = 1e-7  # of the authors' code, where the teacher is sure


def weighted_soft_labels(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike = 2.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The divergence of softened predictions, where each image counts the more the worse the student is beside the teacher.

        w T^2 KL(softmax(z_t / T) || softmax(z_s / T)),   w = 1 - exp(-CE(z_s, y) / CE(z_t, y))

    The cross-entropies are those of T = 1. The gradient stops at the teacher and at w.

    Args:
      student: logits `[..., K]`.
      teacher: logits `[..., K]`.
      labels: class numbers `[...]` (an integer type).
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`; the
        authors have 2 on ImageNet.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats times T^2.

    Raises:
      InputError: for other shapes, labels that are not integers, or a temperature that is not above 0.

    Reference:
      Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang, "Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff
      Perspective", ICLR 2021, arXiv 2102.00650. The released code has the cross-entropy with the soft labels in place of the
      divergence: another value, the same gradient.

    >>> logits = jnp.array([[2.0, 0.0, -1.0]])
    >>> float(weighted_soft_labels(logits, logits, jnp.array([0]), temperature=2.0)[0])
    0.0
    """
    divergence = kl_distillation(student, teacher, temperature=temperature, where=where)
    ours, theirs = (cross_entropy(lax.stop_gradient(jnp.asarray(z)), labels, where=where) for z in (student, teacher))
    # A label that both have masked surprises both alike.
    ratio = jnp.where(jnp.isposinf(ours) & jnp.isposinf(theirs), 1.0, ours / (theirs + EPSILON))
    return (1 - jnp.exp(-ratio)) * divergence
