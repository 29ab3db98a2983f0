"""Masked autoencoders: the pixels of patches that the encoder has not seen."""

from operator import index

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError, check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_flag, wide
from kdjax.losses._positions import shown

_EPSILON = 1e-6  # under the square root of a patch's variance, as in the authors' code


def masked_patches(
    prediction: ArrayLike,
    images: ArrayLike,
    mask: ArrayLike,
    *,
    patch: int,
    normalise: bool = True,
    axis_name: AxisName = None,
) -> jax.Array:
    """The mean squared error of the pixels of hidden patches.

        mean over hidden patches of  mean over pixels of (prediction - target)^2

    The target is the patch itself, or its pixels less their mean, divided by `sqrt(variance + 1e-6)`; the variance is the unbiased
    one of all pixels and channels of the patch together. All hidden patches of the batch weigh the same, however many an image
    has. No gradient flows into the images; what stands in patches that are not hidden reaches neither value nor gradient.

    Args:
      prediction: `[B, N, P P C]`, a vector a patch: patches in rows from the top left, in each pixels in rows, channels last.
      images: `[B, H, W, C]`, as the network sees them; N = (H / P) (W / P).
      mask: `[B, N]`, True (or 1) for a hidden patch.
      patch: P, the side of a patch in pixels, which divides H and W.
      normalise: False compares raw pixels.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0; 0 where nothing is hidden.

    Raises:
      InputError: for shapes that do not fit one another, or options out of range.

    Reference:
      He, Chen, Xie, Li, Dollár, Girshick, "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv 2111.06377. That the
      variance is the unbiased one is told by the authors' code.

    >>> image, mask = jnp.arange(16.0).reshape(1, 4, 4, 1), jnp.array([[1, 0, 0, 0]])  # the first patch holds 0, 1, 4, 5
    >>> masked_patches(jnp.zeros((1, 4, 4)), image, mask, patch=2, normalise=False)
    Array(10.5, dtype=float32)
    """
    sizes = check_shapes("B N D", prediction=prediction)
    check_shapes("B H W C", sizes, images=images)
    check_shapes("B N", sizes, mask=mask)
    check_option("patch", patch, lambda p: index(p) >= 1, "a whole number, 1 or more")
    check_flag("normalise", normalise)
    height, width, channels = np.shape(images)[1:]
    if height % patch or width % patch:
        raise InputError(f"patch={patch} is not accepted: expected a divisor of the sides of images, {height} and {width}")
    expected = (height // patch) * (width // patch), patch * patch * channels
    if np.shape(prediction)[1:] != expected:
        form = f"[B, {expected[0]}, {expected[1]}] for patches of {patch} pixels a side of images of shape {np.shape(images)}"
        raise InputError(f"prediction has shape {np.shape(prediction)}: expected {form}")
    if normalise and expected[1] < 2:
        raise InputError("normalise=True is not accepted with patches of one number, which has no variance: expected False")

    target = _patches(wide(lax.stop_gradient(images)), patch)
    if normalise:
        apart = target - jnp.mean(target, axis=-1, keepdims=True)
        target = apart * lax.rsqrt(jnp.sum(apart**2, axis=-1, keepdims=True) / (expected[1] - 1) + _EPSILON)
    hidden = jnp.asarray(mask).astype(bool)
    prediction, target = shown(hidden, wide(prediction), target)
    return collectives.mean(jnp.mean((prediction - target) ** 2, axis=-1), hidden, axis_name)


def _patches(images: jax.Array, patch: int) -> jax.Array:
    """`[B, H, W, C] -> [B, N, P P C]`."""
    rows, height, width, channels = images.shape
    down, across = height // patch, width // patch
    # An axis at a time: of rows that lie over devices no more is reshaped at once.
    cut = images.reshape(rows, down, patch, width, channels).reshape(rows, down, patch, across, patch, channels).swapaxes(2, 3)
    return cut.reshape(rows, down, across, -1).reshape(rows, down * across, -1)
