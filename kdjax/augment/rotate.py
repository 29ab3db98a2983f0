"""Turns by right angles."""

import jax
import jax.numpy as jnp

from kdjax.augment._image import check_image
from kdjax.core.check import InputError


def rotations(image: jax.Array) -> jax.Array:
    """The image turned by 0, 90, 180 and 270 degrees, counter-clockwise and exactly.

    Args:
      image: `[H, H, C]`.

    Returns:
      `[4, H, H, C]`.

    Raises:
      InputError: for a bad shape, or sides that differ.

    >>> rotations(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]))[1, :, :, 0].tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    check_image(image)
    if image.shape[0] != image.shape[1]:
        raise InputError(f"image of shape {image.shape} is not accepted: turns by 90 degrees need equal sides")
    return jnp.stack([jnp.rot90(image, turns) for turns in range(4)])
