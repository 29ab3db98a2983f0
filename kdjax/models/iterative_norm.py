"""Normalisation that takes the correlations between dimensions off, by Newton's iteration for an inverse square root."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option, check_rows


class IterativeNorm(nn.Module):
    """Vectors without their mean, whitened in groups of neighbouring dimensions, then scaled and shifted.

        S = cov(x) + epsilon I,  P_0 = I,  P_k+1 = (3 P_k - P_k^3 S / tr S) / 2,  W = P_K / sqrt(tr S)
        y = scale W (x - mean) + bias

    `W` approaches the inverse square root of S, from directions of large variance on: a few iterations leave directions of small
    variance below 1. In evaluation the running averages of mean and W take their place, which keep 0.9.

    Attributes:
      group: dimensions of a group; one that does not divide their number is halved until it does.
      iterations: K.
      epsilon: added to the variances.
      axis_name: mapped axis over which mean and covariance are averaged, or None.

    Reference: Huang, Zhou, Zhu, Liu and Shao, Iterative Normalization: Beyond Standardization towards Efficient Whitening, CVPR
    2019 (arXiv 1904.03441). As in solo-learn, whose groups have 32 of 2,048 dimensions.
    """

    group: int = 32
    iterations: int = 5
    epsilon: float = 1e-5
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Vectors `[B, D]` to `[B, D]`, float32.

        Raises:
          InputError: for an option that is not a whole number of at least 1; in training for a single row.
        """
        for name, value in {"group": self.group, "iterations": self.iterations}.items():
            check_option(name, value, lambda n: n >= 1, "a whole number of at least 1")
        rows, width = x.shape
        group = group_width(width, self.group)
        x = x.astype(jnp.float32).reshape(rows, width // group, group)
        eye = jnp.eye(group)
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[1:])
        matrix = self.variable("batch_stats", "matrix", lambda: jnp.broadcast_to(eye, (width // group, group, group)))
        scale, bias = self.param("scale", nn.initializers.ones, (width,)), self.param("bias", nn.initializers.zeros, (width,))
        if train and not self.is_initializing():
            check_rows(rows, self.axis_name, "iterative norm")
            now = self._mean(jnp.mean(x, 0))
            centred = x - now[None]
            covariance = self._mean(jnp.einsum("bgi,bgj->gij", centred, centred, precision="highest") / rows)
            whitening = inverse_square_root(covariance + self.epsilon * eye[None], self.iterations)
            mean.value, matrix.value = 0.9 * mean.value + 0.1 * now, 0.9 * matrix.value + 0.1 * whitening
        else:
            centred, whitening = x - mean.value[None], matrix.value
        y = jnp.einsum("gij,bgj->bgi", whitening, centred, precision="highest").reshape(rows, width)
        return scale[None] * y + bias[None]

    def _mean(self, local: jax.Array) -> jax.Array:
        return local if self.axis_name is None else lax.pmean(local, self.axis_name)


def group_width(width: int, group: int) -> int:
    """The dimensions of a group: `group`, halved until it divides the width.

    >>> group_width(2048, 32), group_width(12, 32), group_width(5, 4)
    (32, 4, 1)
    """
    while width % group:
        group //= 2
    return group


def inverse_square_root(matrices: Any, iterations: int) -> jax.Array:
    """`S^-1/2` of positive definite matrices `[..., D, D]` by Newton's iteration, near to it from some iterations on.

    >>> inverse_square_root(4 * jnp.eye(2), 5).round(4).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    trace = jnp.trace(matrices, axis1=-2, axis2=-1)[..., None, None]
    scaled = matrices / trace
    found = jnp.broadcast_to(jnp.eye(matrices.shape[-1]), matrices.shape)
    product = lambda a, b: jnp.matmul(a, b, precision="highest")  # noqa: E731
    for _ in range(iterations):
        found = 1.5 * found - 0.5 * product(product(product(found, found), found), scaled)
    return found / jnp.sqrt(trace)
