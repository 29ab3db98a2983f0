"""Decoupled knowledge distillation: the true class and the other classes apart."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, temperatures, wide
from kdjax.losses._labels import at_label, class_mask, class_numbers
from kdjax.losses._positions import counted, shown
from kdjax.losses._softmax import divergence, log_sum, tempered


def decoupled(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: ArrayLike = 1.0,
    beta: ArrayLike = 8.0,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The divergence of softened predictions in two parts, each with a weight of its own, times the squared temperature.

        T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s))

    With p = softmax(logits / T) and the true class y: b = (p[y], 1 - p[y]), and q = p over the other classes alone, made to
    sum to 1. With alpha = 1 and beta = 1 - p_t[y] this would be `kl_distillation`. The gradient stops at the teacher. Logits
    may be -inf (masked classes), with 0 log 0 = 0.

    Args:
      student: logits `[..., K]`, K at least 2.
      teacher: logits `[..., K]`.
      labels: class numbers `[...]` (an integer type).
      alpha: weight of the true class against the rest, at least 0; the paper has 1.
      beta: weight of the other classes, at least 0; the paper has 2 to 8 on CIFAR-100 (8 where the teacher is resnet32x4), 0.5
        on ImageNet.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`;
        the paper has 4 on CIFAR-100, 1 on ImageNet.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats times T^2. The row of a class number outside [0, K) is NaN.

    Raises:
      InputError: for other shapes, labels that are not integers, a negative weight, or a temperature that is not above 0.

    Reference:
      Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679.
      Differs from the authors' code in that the true class is left out of q exactly, where the code subtracts 1000 from its
      logit; and the warm-up `min(epoch / 20, 1)` of the benchmark is the caller's.

    >>> logits = jnp.array([[2.0, 0.0, -1.0]])
    >>> float(decoupled(logits, logits, jnp.array([0]), alpha=1.0, beta=8.0, temperature=4.0)[0])
    0.0
    """
    sizes = check_shapes("... K", student=student, teacher=teacher)
    if np.shape(student)[-1] < 2:
        raise InputError(f"student has shape {np.shape(student)}: expected [..., K] with K of at least 2")
    labels = class_numbers(labels, sizes)
    for name, weight in (("alpha", alpha), ("beta", beta)):
        check_number(name, weight, lambda v: 0 <= v < math.inf, "a finite number, at least 0")
    t = temperatures(temperature, np.shape(student)[:-1])
    student, teacher, labels = shown(where, student, teacher, labels)
    true = class_mask(labels, student.shape[-1])
    margin_s, log_s = _split(tempered(student, t), labels, true)
    margin_t, log_t = _split(tempered(lax.stop_gradient(teacher), t), labels, true)
    binary = jnp.zeros_like(margin_s)
    for sign in (1, -1):
        binary += divergence(jax.nn.log_sigmoid(sign * margin_t), jax.nn.log_sigmoid(sign * margin_s))
    others = jnp.sum(divergence(log_t, log_s), axis=-1)
    return counted(t**2 * (wide(alpha) * binary + wide(beta) * others), where)


def _split(z: jax.Array, labels: jax.Array, true: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The log-odds `[...]` of the true class, and log q `[..., K]` with -inf in its place."""
    others = jnp.where(true, -jnp.inf, z)
    top = lax.stop_gradient(jnp.max(others, axis=-1, keepdims=True))
    top = jnp.where(jnp.isneginf(top), 0.0, top)
    z, others = z - top, others - top
    rest = log_sum(others)
    # Where all other classes are masked the odds are infinite, and q is 0.
    return at_label(z - rest, labels), others - jnp.where(jnp.isneginf(rest), 0.0, rest)
