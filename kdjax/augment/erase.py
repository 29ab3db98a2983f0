"""Erasing a part of an image."""

import jax
import jax.numpy as jnp

from kdjax.augment._image import box_mask, check_image, pair


def cutout(key: jax.Array, image: jax.Array, *, size: int | tuple[int, int], fill: float | jax.Array = 0.0) -> jax.Array:
    """Fills one box whose middle is uniform over the pixels; what reaches over the border is cut off.

    Args:
      key: random key.
      image: `[H, W, C]`.
      size: height and width of the box in pixels, or one number for both. It covers `size` rows from
        `middle - size // 2` on.
      fill: the value inside the box: a number, or an array that broadcasts to `[H, W, C]` at the same rank.

    Returns:
      `[H, W, C]`.

    Raises:
      InputError: for a bad shape or option.

    Reference:
      DeVries, Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017, arXiv 1708.04552.

    >>> cutout(jax.random.key(0), jnp.ones((4, 4, 1)), size=1).sum().item()
    15.0
    """
    check_image(image)
    tall, wide = pair(size)
    height, width, _ = image.shape
    key_y, key_x = jax.random.split(key)
    top = jax.random.randint(key_y, (), 0, height) - tall // 2
    left = jax.random.randint(key_x, (), 0, width) - wide // 2
    return jnp.where(box_mask(height, width, (top, left, tall, wide)), fill, image)
