"""Mirror images."""

import jax
import jax.numpy as jnp

from kdjax.augment._image import check_image, happens, is_zero


def flip(key: jax.Array, image: jax.Array, *, p: float | jax.Array = 0.5) -> jax.Array:
    """Swaps left and right with probability `p`.

    Args:
      key: random key.
      image: `[H, W, C]`.
      p: probability of the swap.

    Returns:
      `[H, W, C]`.

    Raises:
      InputError: for a bad shape or option.

    >>> flip(jax.random.key(0), jnp.array([[[1.0], [2.0]]]), p=1.0)[..., 0].tolist()
    [[2.0, 1.0]]
    """
    check_image(image)
    return image if is_zero(p) else jnp.where(happens(key, p), image[:, ::-1], image)
