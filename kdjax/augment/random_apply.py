"""Transforms that happen only sometimes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.augment._image import happens
from kdjax.augment.geometry import choose, same, trace
from kdjax.core.check import check_option


def random_apply(transform: Callable, *, p: float | jax.Array) -> Callable:
    """The transform that applies `transform` with probability `p` and else returns the image.

    Both are computed and one is selected, as `vmap` would do anyway; a plain 0 or 1 computes only the one.

    Args:
      transform: `(key, image) -> image`, of the same shape.
      p: probability.

    Returns:
      `(key, image, geometry=False) -> image`; with `geometry`, `(image, Geometry)`.

    Raises:
      InputError: for a bad probability.

    >>> darken = random_apply(lambda key, image: image * 0.5, p=1.0)
    >>> darken(jax.random.key(0), jnp.ones((1, 1, 1))).item()
    0.5
    """
    check_option("p", p, lambda v: 0 <= v <= 1, "a probability in [0, 1]")
    if isinstance(p, int | float) and p in (0, 1):
        return transform if p else lambda key, image: image

    def apply(key, image, geometry=False):
        key_coin, key_transform = jax.random.split(key)
        happened = happens(key_coin, p)
        if not geometry:
            return jnp.where(happened, transform(key_transform, image), image)
        changed, moved = trace(transform, key_transform, image)
        moved = choose(happened, moved, same(image.shape[:2]))
        return jnp.where(happened, changed, image), moved

    return apply
