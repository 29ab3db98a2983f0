"""Mirror images."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.augment._image import check_image, happens, is_zero
from kdjax.augment.geometry import Geometry, choose, same


def flip(key: jax.Array, image: jax.Array, *, p: float | jax.Array = 0.5, geometry: bool = False) -> Any:
    """Swaps left and right with probability `p`.

    Args:
      key: random key.
      image: `[H, W, C]`.
      p: probability of the swap.
      geometry: whether to return where the pixels come from as well.

    Returns:
      `[H, W, C]`; with `geometry`, `(image, Geometry)`.

    Raises:
      InputError: for a bad shape or option.

    >>> flip(jax.random.key(0), jnp.array([[[1.0], [2.0]]]), p=1.0)[..., 0].tolist()
    [[2.0, 1.0]]
    """
    check_image(image)
    swapped = happens(key, p)
    flipped = image if is_zero(p) else jnp.where(swapped, image[:, ::-1], image)
    if not geometry:
        return flipped
    stays = same(image.shape[:2])
    mirror = Geometry(jnp.diag(jnp.array([-1.0, 1.0])), jnp.array([image.shape[1], 0.0]), stays.size)
    return flipped, choose(swapped, mirror, stays)
