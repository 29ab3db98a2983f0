"""Mirror images."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.augment._image import check_image, happens, is_zero
from kdjax.augment.geometry import Geometry, choose, same


def flip(key: jax.Array, image: jax.Array, *, p: float | jax.Array = 0.5, upright: bool = True, geometry: bool = False) -> Any:
    """Swaps left and right with probability `p`, or top and bottom.

    Args:
      key: random key.
      image: `[H, W, C]`.
      p: probability of the swap.
      upright: whether up stays up: left and right are swapped. False swaps top and bottom, for images from above, which have no up.
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
    mirrored = image[:, ::-1] if upright else image[::-1]
    flipped = image if is_zero(p) else jnp.where(swapped, mirrored, image)
    if not geometry:
        return flipped
    stays = same(image.shape[:2])
    signs, offset = ([-1.0, 1.0], [image.shape[1], 0.0]) if upright else ([1.0, -1.0], [0.0, image.shape[0]])
    mirror = Geometry(jnp.diag(jnp.array(signs)), jnp.array(offset), stays.size)
    return flipped, choose(swapped, mirror, stays)
