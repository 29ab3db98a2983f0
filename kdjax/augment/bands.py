"""Photometric changes of images with any number of bands, as those of satellites have, where there is no colour as eyes see it."""

import jax
import jax.numpy as jnp

from kdjax.augment._image import between, check_image, happens, is_zero
from kdjax.core.check import check_option


def band_jitter(
    key: jax.Array,
    image: jax.Array,
    *,
    brightness: float | jax.Array = 0.4,
    contrast: float | jax.Array = 0.4,
    p: float | jax.Array = 0.8,
    each: bool = False,
) -> jax.Array:
    """With probability `p`: brightness, then contrast about the mean of each band, clipped to [0, 1] after each.

        y = clip(s x),   z = clip(t (y - mean y) + mean y),   s in U(1 - brightness, 1 + brightness), t likewise by contrast

    Args:
      key: random key.
      image: `[H, W, C]` in [0, 1], of any number of bands.
      brightness: of the factor, from 0 on; a plain 0 leaves the change out.
      contrast: likewise.
      p: probability that anything happens.
      each: whether every band has factors of its own; else all share them.

    Returns:
      `[H, W, C]` in [0, 1].

    Raises:
      InputError: for a bad shape or option.

    Reference:
      Wang, Albrecht, Ait Ali Braham, Mou, Zhu, "Self-supervised Learning in Remote Sensing: A Review", IEEE GRSM 2022, arXiv
      2206.13188. Differs from the authors' code where values leave the range: there they wrap around as bytes do.

    >>> jax.jit(band_jitter)(jax.random.key(0), jnp.ones((4, 4, 12))).shape
    (4, 4, 12)
    """
    check_image(image)
    check_option("brightness", brightness, lambda v: v >= 0, "a number, 0 or more")
    check_option("contrast", contrast, lambda v: v >= 0, "a number, 0 or more")
    key_coin, key_brightness, key_contrast = jax.random.split(key, 3)
    happened, changed, shape = happens(key_coin, p), image, (1, 1, image.shape[2] if each else 1)

    def factor(own, size):
        return between(own, jnp.maximum(1.0 - size, 0.0), 1.0 + size, shape)

    if not is_zero(brightness):
        changed = jnp.clip(factor(key_brightness, brightness) * changed, 0.0, 1.0)
    if not is_zero(contrast):
        mean = jnp.mean(changed, axis=(0, 1), keepdims=True)
        changed = jnp.clip(factor(key_contrast, contrast) * (changed - mean) + mean, 0.0, 1.0)
    return jnp.where(happened, changed, image)


def grey_bands(image: jax.Array) -> jax.Array:
    """The mean of the bands in each of them.

    Args:
      image: `[H, W, C]`, of any number of bands.

    Returns:
      `[H, W, C]`.

    Raises:
      InputError: for a bad shape.

    Reference:
      Wang and others, as in `band_jitter`.

    >>> grey_bands(jnp.array([[[0.0, 0.25, 0.5, 0.25]]])).tolist()
    [[[0.25, 0.25, 0.25, 0.25]]]
    """
    check_image(image)
    return jnp.broadcast_to(jnp.mean(image, axis=2, keepdims=True), image.shape)


def drop_bands(key: jax.Array, image: jax.Array, *, most: float = 0.5, fill: float | jax.Array = 0.0) -> jax.Array:
    """Sets some bands to one value: from 1 to `floor(most C)` of them, each number and each band as likely as any other.

    Args:
      key: random key.
      image: `[H, W, C]`, of any number of bands.
      most: the largest part of the bands, below 1. Where it is less than one band, the image stays as it is.
      fill: the value.

    Returns:
      `[H, W, C]`.

    Raises:
      InputError: for a bad shape or option.

    Reference:
      Wang and others, as in `band_jitter`: 1 to 6 of 12 bands. Differs from the authors' code, which at that place holds images
      with their bands last and sets rows of pixels to 0.

    >>> print(drop_bands(jax.random.key(0), jnp.ones((1, 1, 3))).sum())  # one of three
    2.0
    """
    check_image(image)
    check_option("most", most, lambda v: 0 <= v < 1, "a part of the bands in [0, 1)")
    bands = image.shape[2]
    limit = int(most * bands + 1e-9)
    if limit == 0:
        return image
    key_count, key_order = jax.random.split(key)
    count = jax.random.randint(key_count, (), 1, limit + 1)
    return jnp.where((jax.random.permutation(key_order, bands) < count)[None, None], fill, image)
