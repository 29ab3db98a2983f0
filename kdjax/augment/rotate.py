"""Turns by right angles."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.augment._image import check_image, happens
from kdjax.augment.geometry import Geometry
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


def random_turn(key: jax.Array, image: jax.Array, *, p: float | jax.Array = 0.75, geometry: bool = False) -> Any:
    """Turns by 90, 180 or 270 degrees, each as likely, with probability `p`; by default all four ways up are as likely.

    Args:
      key: random key.
      image: `[H, H, C]`, such as one from above, which has no up.
      p: probability that it is turned.
      geometry: whether to return where the pixels come from as well.

    Returns:
      `[H, H, C]`; with `geometry`, `(image, Geometry)`.

    Raises:
      InputError: for a bad shape or option, or sides that differ.

    >>> image = jnp.arange(4.0).reshape(2, 2, 1)
    >>> bool(jnp.any(random_turn(jax.random.key(0), image, p=1.0) != image))
    True
    """
    key_coin, key_turns = jax.random.split(key)
    turns = jnp.where(happens(key_coin, p), jax.random.randint(key_turns, (), 1, 4), 0)
    turned = rotations(image)[turns]
    if not geometry:
        return turned
    # Exact cosines and sines of the four angles, about the middle of the image.
    cos, sin = jnp.array([1.0, 0.0, -1.0, 0.0])[turns], jnp.array([0.0, 1.0, 0.0, -1.0])[turns]
    matrix, middle = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])]), image.shape[0] / 2
    return turned, Geometry(matrix, middle - middle * jnp.sum(matrix, 1), image.shape[:2])
