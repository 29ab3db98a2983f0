"""Losses of methods that predict one view's representation from another view, without negatives."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import wide
from kdjax.losses._positions import counted, shown


def byol(prediction: ArrayLike, target: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """The squared distance of two directions: `|u(p) - u(z)|^2 = 2 - 2 cos(p, z)`, with `u(x) = x / |x|`.

    The gradient stops at the target. This is one direction of the method's loss, which *adds* the one of the swapped
    views. `u` divides by `sqrt(max(sum x^2, 1e-12))`, so a zero vector stays zero and has a finite gradient.

    Args:
      prediction: the online network's predictions `[B, D]`.
      target: the target network's projections `[B, D]`.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`, in [0, 4].

    Raises:
      InputError: for other or unequal shapes.

    Reference:
      Grill, Strub, Altché, Tallec, Richemond, et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised
      Learning", NeurIPS 2020, arXiv 2006.07733.

    >>> byol(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 3.0]]))
    Array([2.], dtype=float32)
    """
    check_shapes("B D", prediction=prediction, target=target)
    # The difference, not 2 - 2 cos: the same number, but exact where the two nearly agree.
    p, z = shown(where, wide(prediction), lax.stop_gradient(wide(target)))
    return counted(jnp.sum((_direction(p) - _direction(z)) ** 2, axis=-1), where)


def simsiam(prediction: ArrayLike, target: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """Minus the cosine of the prediction with the other view's projection: `-cos(p, z)`.

    The gradient stops at the target, without which all images soon have the same projection. This is one direction of the
    method's loss, which has the *mean* of both. Inputs are normalised here; a row of zeros has cosine 0 and gradient 0.
    Half of `byol`, less 1.

    Args:
      prediction: the predictor's outputs `[B, D]` of one view.
      target: the projector's outputs `[B, D]` of the other view, by the same network.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`, in [-1, 1].

    Raises:
      InputError: for other or unequal shapes.

    Reference:
      Chen, He, "Exploring Simple Siamese Representation Learning", CVPR 2021, arXiv 2011.10566.

    >>> simsiam(jnp.array([[2.0, 0.0]]), jnp.array([[3.0, 0.0]]))
    Array([-1.], dtype=float32)
    """
    check_shapes("B D", prediction=prediction, target=target)
    p, z = shown(where, wide(prediction), lax.stop_gradient(wide(target)))
    return counted(-jnp.sum(unit(p) * unit(z), axis=-1), where)


def _direction(x: jax.Array) -> jax.Array:
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis=-1, keepdims=True), 1e-12))
