"""Losses that shape images made without data: what a trained teacher says about them, and what images look like.

They move a generator or the pixels themselves through a fixed teacher, so no gradient stops at the logits or features.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError, check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_flag, check_number, check_positive, wide
from kdjax.losses._geometry import absolute, root
from kdjax.losses._positions import counted, mean_of_each, shown
from kdjax.losses._softmax import log_probabilities, probabilities


def one_hot_confidence(logits: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """The cross-entropy of a prediction with its own most likely class: small where the teacher is sure.

        -log softmax(logits)[argmax logits]

    Of several equal largest logits the first counts, in the value and in the gradient. With drawn labels, as inversion
    methods have them, use `cross_entropy`.

    Args:
      logits: the teacher's logits `[..., K]` of made images.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats.

    Raises:
      InputError: for another shape.

    Reference:
      Chen, Wang, Xu, Yang, Liu, Shi, Xu, Xu, Tian, "Data-Free Learning of Student Networks", ICCV 2019,
      arXiv 1904.01186.

    >>> logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    >>> print(f"{one_hot_confidence(logits)[0]:.4f}")
    0.6931
    """
    check_shapes("... K", logits=logits)
    log_p = log_probabilities(*shown(where, logits))
    top = jnp.argmax(log_p, axis=-1, keepdims=True)
    return counted(-jnp.take_along_axis(log_p, top, axis=-1)[..., 0], where)


def class_balance(
    logits: ArrayLike, *, base: ArrayLike = math.e, temperature: ArrayLike = 1.0, axis_name: AxisName = None
) -> jax.Array:
    """The negative entropy of the mean prediction: least, `-log K`, where every class is made equally often.

        sum_k m[k] log m[k],   m = the mean over the batch of softmax(logits / T)

    Args:
      logits: the teacher's logits `[B, K]` of made images.
      base: of the logarithm, above 1: natural by default, as in the benchmarks; DAFL's own code has 10.
      temperature: T, a number above 0; CuDFKD has 20 on CIFAR-10 and 5 on CIFAR-100.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar in [-log K, 0].

    Raises:
      InputError: for another shape, base or temperature.

    Reference:
      Chen, Wang, Xu, Yang, Liu, Shi, Xu, Xu, Tian, "Data-Free Learning of Student Networks", ICCV 2019,
      arXiv 1904.01186.

    >>> print(f"{class_balance(100 * jnp.eye(10), base=10):.4f}")
    -1.0000
    """
    check_shapes("B K", logits=logits)
    check_number("base", base, lambda v: 1 < v < math.inf, "a finite number above 1")
    check_positive("temperature", temperature)
    m = collectives.pmean(jnp.mean(probabilities(logits, temperature), axis=0), axis_name)
    # A class that nobody predicts counts 0 (the limit), and its gradient stays finite.
    return jnp.sum(m * jnp.log(jnp.maximum(m, jnp.finfo(m.dtype).tiny))) / jnp.log(wide(base))


def activation_norm(features: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """Minus the mean absolute feature: images of the teacher's own domain excite its last layer more than others do.

    Args:
      features: the teacher's pooled features `[B, D]`, or a map `[B, ..., C]`.
      where: bool `[B, ...]`, the positions that count, others reach neither value nor gradient; 0 where none does. None: all count.

    Returns:
      `[B]`, at most 0.

    Raises:
      InputError: for fewer than two axes.

    Reference:
      Chen, Wang, Xu, Yang, Liu, Shi, Xu, Xu, Tian, "Data-Free Learning of Student Networks", ICCV 2019,
      arXiv 1904.01186.

    >>> activation_norm(jnp.array([[1.0, -3.0]]))
    Array([-2.], dtype=float32)
    """
    check_shapes("B ... C", features=features)
    (x,) = shown(where, wide(features))
    return -mean_of_each(absolute(x), where)


def image_prior(images: ArrayLike, *, norm: Literal["l1", "l2"] = "l1", axis_name: AxisName = None) -> jax.Array:
    """The total variation of images: how much neighbouring pixels differ to the right, down and along both diagonals.

    With d_j the differences of direction j: `"l1"` is `sum_j mean |d_j|`; `"l2"` is `sum_j |d_j|_2`, one norm over the
    whole batch, and larger by about the square root of the number of pixels. A weight belongs to one of the two: 2.5e-5
    in DeepInversion on CIFAR is for `"l2"`.

    Args:
      images: `[B, H, W, C]`, with at least 2 rows and 2 columns of pixels.
      norm: `"l1"` (the benchmarks) or `"l2"` (DeepInversion on CIFAR).
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for another shape or norm.

    Reference:
      Yin, Molchanov, Li, Alvarez, Mallya, Hoiem, Jha, Kautz, "Dreaming to Distill: Data-free Knowledge Transfer via
      DeepInversion", CVPR 2020, arXiv 1912.08795.

    >>> image_prior(jnp.array([0.0, 1.0, 0.0, 1.0]).reshape(1, 2, 2, 1))  # 1 to the right and on each diagonal, 0 down
    Array(3., dtype=float32)
    """
    check_shapes("B H W C", images=images)
    check_option("norm", norm, lambda v: v in ("l1", "l2"), "'l1' or 'l2'")
    x = wide(images)
    if min(x.shape[1:3]) < 2:
        raise InputError(f"images has shape {x.shape}: expected [B, H, W, C] with H and W of at least 2")
    right = x[:, :, 1:] - x[:, :, :-1]
    down = x[:, 1:] - x[:, :-1]
    diagonal = x[:, 1:, 1:] - x[:, :-1, :-1]
    other = x[:, 1:, :-1] - x[:, :-1, 1:]
    if norm == "l1":
        each = [collectives.mean(absolute(d), axis_name=axis_name) for d in (right, down, diagonal, other)]
    else:
        each = [root(collectives.psum(jnp.sum(d**2), axis_name)) for d in (right, down, diagonal, other)]
    return jnp.sum(jnp.stack(each))


def image_norm(images: ArrayLike, *, per_image: bool = False, axis_name: AxisName = None) -> jax.Array:
    """The length of images as vectors of numbers: a prior that holds pixels near the mean to which inputs are normalised.

        |x|_2 of the whole batch, or with `per_image` the mean over the batch of |x_i|_2

    The first is larger by about the square root of the batch. Flat images of zeros have gradient 0.

    Args:
      images: `[B, ...]`, normalised as the teacher takes them.
      per_image: False is one norm of the batch, as DeepInversion on CIFAR and the benchmarks have it; True is that on ImageNet.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for another shape, or a `per_image` that is no flag.

    Reference:
      Yin, Molchanov, Li, Alvarez, Mallya, Hoiem, Jha, Kautz, "Dreaming to Distill: Data-free Knowledge Transfer via
      DeepInversion", CVPR 2020, arXiv 1912.08795.

    >>> x = jnp.array([[3.0, 4.0], [0.0, 12.0]])
    >>> image_norm(x), image_norm(x, per_image=True)
    (Array(13., dtype=float32), Array(8.5, dtype=float32))
    """
    check_shapes("B ...", images=images)
    check_flag("per_image", per_image)
    x = wide(images)
    squares = jnp.sum(x**2, axis=tuple(range(1, x.ndim)))
    if per_image:
        return collectives.mean(root(squares), axis_name=axis_name)
    return root(collectives.psum(jnp.sum(squares), axis_name))
