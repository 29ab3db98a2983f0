"""Losses on what a network computes before its activation, with a margin around the boundary where neurons switch."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.pool import average_pool
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_positive, wide
from kdjax.losses._positions import counted, shown


def activation_boundary(
    student: ArrayLike, teacher: ArrayLike, *, margin: ArrayLike = 1.0, where: ArrayLike | None = None
) -> jax.Array:
    """Pushes each neuron of the student to the side of 0 where the teacher's is, and `margin` beyond.

        sum over elements of  max(margin - s, 0)^2 where t > 0,  max(margin + s, 0)^2 elsewhere

    Only the sign of the teacher counts; the gradient stops there. This is the paper's plain sum. The authors' code has
    3 / 1000 of its batch mean, times 2^(l - L + 1) for layer l = 0 ... L - 1 (the last layer 1): for its numbers give
    these factors as weights.

    Args:
      student: values before the activation `[B, ..., C]`, after a connector where the shapes differ.
      teacher: values before the activation, of the same shape.
      margin: above 0; 1 in the paper.
      where: bool `[B, ...]`, the positions that count; others reach neither value nor gradient. None: all count.

    Returns:
      `[B]`.

    Raises:
      InputError: for fewer than two axes or unequal shapes, or a margin that is not above 0.

    Reference:
      Heo, Lee, Yun, Choi, "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons",
      AAAI 2019, arXiv 1811.03233.

    >>> activation_boundary(jnp.array([[0.5, 0.5, 9.0]]), jnp.array([[3.0, -3.0, 1.0]]), margin=1.0)
    Array([2.5], dtype=float32)
    """
    check_shapes("B ... C", student=student, teacher=teacher)
    check_positive("margin", margin)
    s, t = shown(where, wide(student), lax.stop_gradient(wide(teacher)))
    short = jnp.maximum(wide(margin) + jnp.where(t > 0, -s, s), 0.0)
    (short,) = shown(where, short)
    return jnp.sum(short**2, axis=tuple(range(1, s.ndim)))


def overhaul(student: ArrayLike, teacher: ArrayLike, *, margin: ArrayLike, where: ArrayLike | None = None) -> jax.Array:
    """The squared distance to the teacher's features before the activation, where it can change what passes on.

        sum over elements of (s - t')^2 where s > t' or t > 0,   t' = max(t, margin)

    A value of the teacher at or below 0 only asks the student to be as low as that, and never lower than the margin.
    The gradient stops at the teacher and at the margin. In the authors' code level l = 0 ... L - 1 weighs
    2^(l - L + 1), and the batch mean of all levels 1e-3 (CIFAR; ImageNet 1e-4): give these factors as weights.

    Args:
      student: the connector's output before the activation `[B, H, W, C]`.
      teacher: values before the activation `[B, h, w, C]`, average-pooled to the student's size.
      margin: `[C]`, at most 0: see `overhaul_margin`.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`.

    Raises:
      InputError: for other shapes.

    Reference:
      Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", ICCV 2019, arXiv 1904.01866.

    >>> s, t = jnp.array([2.0, 2.0, -5.0]), jnp.array([1.0, -9.0, -1.0])
    >>> overhaul(s.reshape(1, 1, 3, 1), t.reshape(1, 1, 3, 1), margin=jnp.array([-3.0]))  # 1 + 25 + 0
    Array([26.], dtype=float32)
    """
    sizes = check_shapes("B H W C", student=student)
    check_shapes("B h w C", sizes, teacher=teacher)
    check_shapes("C", sizes, margin=margin)
    s, t = shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1)
    t = average_pool(t, *s.shape[1:3])
    target = jnp.maximum(t, lax.stop_gradient(wide(margin)).reshape(1, 1, 1, -1))
    apart = jnp.where((s > target) | (t > 0), s - target, 0.0)
    return counted(jnp.sum(apart**2, axis=(1, 2, 3)), where)


def overhaul_margin(scale: ArrayLike, bias: ArrayLike) -> jax.Array:
    """The margin of `overhaul`: the mean of a channel's negative values, from the batch norm that made them.

        E[x | x < 0] of a normal x with mean `bias` and deviation |scale|;  -3 |scale| where P(x < 0) is at most 0.001

    No gradient flows through it.

    Args:
      scale: the scale of the teacher's last batch norm before the activation `[C]`.
      bias: its bias `[C]`.

    Returns:
      `[C]`, at most 0.

    Raises:
      InputError: for other or unequal shapes.

    Reference:
      Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", ICCV 2019, arXiv 1904.01866.

    >>> print(f"{overhaul_margin(jnp.array([1.0]), jnp.array([0.0]))[0]:.4f}")  # -sqrt(2 / pi)
    -0.7979
    """
    check_shapes("C", scale=scale, bias=bias)
    mean = lax.stop_gradient(wide(bias))
    deviation = jnp.abs(lax.stop_gradient(wide(scale)))
    # A scale of 0 makes a constant: its margin is the bias where that is negative, else 0, without a 0 / 0 on the way.
    ratio = mean / jnp.maximum(deviation, jnp.finfo(deviation.dtype).tiny)
    below = 0.5 * lax.erfc(ratio / math.sqrt(2))
    density = jnp.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
    often = below > 0.001
    return jnp.where(often, mean - deviation * density / jnp.where(often, below, 1.0), -3 * deviation)
