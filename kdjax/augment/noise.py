"""Noise on pixels."""

import jax
import jax.numpy as jnp

from kdjax.augment._image import check_image
from kdjax.core.check import check_option


def gaussian_noise(key: jax.Array, image: jax.Array, *, std: float | jax.Array) -> jax.Array:
    """Adds normal noise to every number and clips to [0, 1].

    Args:
      key: random key.
      image: `[H, W, C]` in [0, 1].
      std: standard deviation of the noise, on the scale of the image.

    Returns:
      `[H, W, C]` in [0, 1].

    Raises:
      InputError: for a bad shape or option.

    >>> gaussian_noise(jax.random.key(0), jnp.ones((2, 2, 1)), std=0.0).tolist() == jnp.ones((2, 2, 1)).tolist()
    True
    """
    check_image(image)
    check_option("std", std, lambda v: v >= 0, "a number, 0 or more")
    return jnp.clip(image + std * jax.random.normal(key, image.shape, image.dtype), 0.0, 1.0)
