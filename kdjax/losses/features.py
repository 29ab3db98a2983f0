"""Losses that compare the student's features with the teacher's element by element, after an adapter made them fit.

The adapters (regressors, fusion) are networks of the method; these functions take what comes out of them.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import check_option
from kdjax.core.pool import average_pool, match_sizes
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_positive, wide
from kdjax.losses._positions import counted, mean_of_each, shown


def hint(student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """The mean squared difference of two features of one shape.

        mean over elements of (s - t)^2

    The gradient stops at the teacher.

    Args:
      student: the regressor's output `[B, ..., C]`: a map or pooled features.
      teacher: features of the same shape.
      where: bool `[B, ...]`, the positions that count, others reach neither value nor gradient; 0 where none does. None: all count.

    Returns:
      `[B]`.

    Raises:
      InputError: for fewer than two axes or unequal shapes.

    Reference:
      Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550.
      The paper has half the sum of squares, that is this times N/2 for N elements an example; the benchmarks, and their
      weight 100, have the mean.

    >>> hint(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 2.0]]))
    Array([2.], dtype=float32)
    """
    check_shapes("B ... C", student=student, teacher=teacher)
    s, t = shown(where, wide(student), lax.stop_gradient(wide(teacher)))
    return mean_of_each((s - t) ** 2, where)


def variational_information(
    mean: ArrayLike, teacher: ArrayLike, log_scale: ArrayLike, *, epsilon: ArrayLike = 1e-5, where: ArrayLike | None = None
) -> jax.Array:
    """How badly a Gaussian around the student's guess, one variance a channel, predicts the teacher's features.

        mean over elements of ((mean - t)^2 / v + log v) / 2,   v = softplus(log_scale) + epsilon

    This is the negative log-likelihood without its constant, so it may be negative. `mean` and `log_scale` are trained;
    the gradient stops at the teacher.

    Args:
      mean: the regressor's output `[B, ..., C]`.
      teacher: features of the same shape. Of two maps `[B, H, W, C]` of unequal sizes the larger is average-pooled. The
        authors' code pools a larger student *before* the regressor: do so there for the same numbers.
      log_scale: `[C]`; the authors start at log(exp(5 - epsilon) - 1), a variance of 5.
      epsilon: the least variance, above 0.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`, in nats an element.

    Raises:
      InputError: for other shapes, or an epsilon that is not above 0.

    Reference:
      Ahn, Hu, Damianou, Lawrence, Dai, "Variational Information Distillation for Knowledge Transfer", CVPR 2019,
      arXiv 1904.05835.

    >>> x = jnp.ones((1, 2))
    >>> print(f"{variational_information(x, x, jnp.zeros(2))[0]:.4f}")  # log(log 2) / 2
    -0.1832
    """
    if np.ndim(mean) == np.ndim(teacher) == 4:
        sizes = check_shapes("B H W C", mean=mean)
        check_shapes("B h w C", sizes, teacher=teacher)
    else:
        sizes = check_shapes("B ... C", mean=mean, teacher=teacher)
    check_shapes("C", sizes, log_scale=log_scale)
    check_positive("epsilon", epsilon)
    m, t = shown(where, wide(mean), lax.stop_gradient(wide(teacher)), axes=1)
    if m.ndim == 4:
        m, t = match_sizes(m, t)
    variance = jax.nn.softplus(wide(log_scale)) + wide(epsilon)
    variance = variance.reshape((1,) * (m.ndim - 1) + (-1,))
    return counted(0.5 * jnp.mean((m - t) ** 2 / variance + jnp.log(variance), axis=tuple(range(1, m.ndim))), where)


def hierarchical_context(
    student: ArrayLike, teacher: ArrayLike, *, sizes: Sequence[int] = (4, 2, 1), where: ArrayLike | None = None
) -> jax.Array:
    """The squared difference of two maps at several resolutions: one level of knowledge review.

        (m(H) + m(l_1) / 2 + m(l_2) / 4 + ...) / (1 + 1/2 + 1/4 + ...)

    m(H) is the mean squared difference of the maps, m(l) that of the maps average-pooled to l x l, or to the map's own side
    where that is shorter. A size that is below neither side is left out, and the next one takes its weight; so a pooled vector
    as a 1 x 1 map has m(H) alone. The whole loss is the plain sum over levels, deepest fused first. The gradient stops at the
    teacher.

    Args:
      student: the fused map `[B, H, W, C]` of this level.
      teacher: its map of the same shape.
      sizes: the pooled sizes, in the order in which the weights halve.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`.

    Raises:
      InputError: for other or unequal shapes, or sizes that are not whole numbers above 0.

    Reference:
      Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021, arXiv 2104.09044.

    >>> x = jnp.array([1.0, -1.0, 1.0, -1.0]).reshape(1, 2, 2, 1)  # differs from 0 in detail, and not in its mean
    >>> print(f"{hierarchical_context(x, 0 * x)[0]:.4f}")  # (1 + 0 / 2) / (1 + 1/2)
    0.6667
    """
    check_shapes("B H W C", student=student, teacher=teacher)
    check_option("sizes", sizes, lambda v: all(isinstance(n, int) and n > 0 for n in v), "whole numbers above 0")
    # Pooling is linear: the difference is pooled once instead of both maps.
    s, t = shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1)
    apart = s - t
    weight, weights, loss = 1.0, 1.0, _mean_square(apart)
    for size in sizes:
        height, width = (min(size, side) for side in apart.shape[1:3])
        if (height, width) != apart.shape[1:3]:
            weight /= 2
            weights += weight
            loss += weight * _mean_square(average_pool(apart, height, width))
    return counted(loss / weights, where)


def _mean_square(x: jax.Array) -> jax.Array:
    return jnp.mean(x**2, axis=tuple(range(1, x.ndim)))
