"""Colour: brightness, contrast, saturation, hue, greys, and their random mixture.

An image has 3 channels (RGB) or 1. What needs colour leaves an image of 1 channel as it is.
"""

import jax
import jax.numpy as jnp

from kdjax.augment._image import between, check_image, happens, is_zero
from kdjax.augment.hsv import hsv_to_rgb, rgb_to_hsv
from kdjax.core.check import InputError, check_option

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)


def brightness(image: jax.Array, *, delta: float | jax.Array, mode: str = "add") -> jax.Array:
    """Lighter or darker: `x + delta`, or `x * (1 + delta)`, clipped to [0, 1].

    Args:
      image: `[H, W, C]`.
      delta: 0 changes nothing.
      mode: `"add"`, as BYOL has it, or `"scale"`, as most image libraries have it.

    Returns:
      `[H, W, C]` in [0, 1].

    Raises:
      InputError: for a bad shape or option.

    >>> brightness(jnp.full((1, 1, 1), 0.5), delta=0.25).item()
    0.75
    """
    check_image(image)
    check_option("mode", mode, lambda m: m in ("add", "scale"), "'add' or 'scale'")
    return jnp.clip(image + delta if mode == "add" else image * (1.0 + delta), 0.0, 1.0)


def contrast(image: jax.Array, *, factor: float | jax.Array) -> jax.Array:
    """Away from, or towards, the mean of each channel: `factor * (x - mean) + mean`, clipped to [0, 1].

    Args:
      image: `[H, W, C]`.
      factor: 1 changes nothing, 0 gives the mean.

    Returns:
      `[H, W, C]` in [0, 1].

    Raises:
      InputError: for a bad shape.

    >>> contrast(jnp.array([[[0.25], [0.75]]]), factor=0.5)[..., 0].tolist()
    [[0.375, 0.625]]
    """
    check_image(image)
    mean = jnp.mean(image, axis=(0, 1), keepdims=True)
    return jnp.clip(factor * (image - mean) + mean, 0.0, 1.0)


def saturation(image: jax.Array, *, factor: float | jax.Array) -> jax.Array:
    """Scales the saturation of HSV, clipped to [0, 1]: 1 changes nothing, 0 leaves the value of HSV as a grey.

    Args:
      image: `[H, W, 3]`, or `[H, W, 1]`, which is returned.
      factor: 0 or more.

    Returns:
      The image's shape, in [0, 1].

    Raises:
      InputError: for a bad shape.

    >>> saturation(jnp.array([[[1.0, 0.5, 0.5]]]), factor=2.0).tolist()
    [[[1.0, 0.0, 0.0]]]
    """
    return image if _is_grey(image) else _shift_hsv(image, factor, 0.0)


def hue(image: jax.Array, *, delta: float | jax.Array) -> jax.Array:
    """Turns the hue of HSV: `(h + delta) mod 1`.

    Args:
      image: `[H, W, 3]`, or `[H, W, 1]`, which is returned.
      delta: share of the circle; 1/3 turns red into green.

    Returns:
      The image's shape, in [0, 1].

    Raises:
      InputError: for a bad shape.

    >>> hue(jnp.array([[[1.0, 0.0, 0.0]]]), delta=0.5).tolist()
    [[[0.0, 1.0, 1.0]]]
    """
    return image if _is_grey(image) else _shift_hsv(image, 1.0, delta)


def to_grey(image: jax.Array) -> jax.Array:
    """Greys of the same shape: every channel is `0.2989 R + 0.5870 G + 0.1140 B`.

    Args:
      image: `[H, W, 3]`, or `[H, W, 1]`, which is returned.

    Returns:
      The image's shape.

    Raises:
      InputError: for a bad shape.

    >>> to_grey(jnp.array([[[0.0, 1.0, 0.0]]])).round(3)
    Array([[[0.587, 0.587, 0.587]]], dtype=float32)
    """
    if _is_grey(image):
        return image
    grey = 0.2989 * image[..., 0] + 0.5870 * image[..., 1] + 0.1140 * image[..., 2]
    return jnp.broadcast_to(grey[:, :, None], image.shape)


def solarise(image: jax.Array, *, threshold: float | jax.Array = 0.5) -> jax.Array:
    """Turns light pixels round: `x < threshold ? x : 1 - x`.

    Args:
      image: `[H, W, C]` in [0, 1].
      threshold: the least value that is turned.

    Returns:
      `[H, W, C]` in [0, 1].

    Raises:
      InputError: for a bad shape.

    >>> solarise(jnp.array([[[0.25], [0.75]]]))[..., 0].tolist()
    [[0.25, 0.25]]
    """
    check_image(image)
    return jnp.where(image < threshold, image, 1.0 - image)


def colour_jitter(
    key: jax.Array,
    image: jax.Array,
    *,
    brightness: float | jax.Array = 0.4,
    contrast: float | jax.Array = 0.4,
    saturation: float | jax.Array = 0.2,
    hue: float | jax.Array = 0.1,
    p: float | jax.Array = 0.8,
    brightness_mode: str = "add",
) -> jax.Array:
    """With probability `p`: the four changes in a random order, each by a uniform amount, clipped to [0, 1] after each.

    A change whose amount is a plain 0 is left out. An image of 1 channel skips saturation and hue.

    Args:
      key: random key.
      image: `[H, W, 3]` or `[H, W, 1]` in [0, 1].
      brightness: delta in U(-b, b).
      contrast: factor in U(1 - c, 1 + c), from 0 on.
      saturation: factor in U(1 - s, 1 + s), from 0 on.
      hue: delta in U(-h, h), h at most 0.5.
      p: probability that anything happens.
      brightness_mode: `mode` of `brightness`.

    Returns:
      The image's shape, in [0, 1].

    Raises:
      InputError: for a bad shape or option.

    Reference:
      Howard, Some Improvements on Deep Convolutional Neural Network Based Image Classification, 2013, arXiv 1312.5402;
      the amounts: Grill et al., Bootstrap Your Own Latent, NeurIPS 2020, arXiv 2006.07733.

    >>> jax.jit(colour_jitter)(jax.random.key(0), jnp.ones((4, 4, 3))).shape
    (4, 4, 3)
    """
    check_option("brightness", brightness, lambda v: v >= 0, "a number, 0 or more")
    check_option("contrast", contrast, lambda v: v >= 0, "a number, 0 or more")
    check_option("saturation", saturation, lambda v: v >= 0, "a number, 0 or more")
    check_option("hue", hue, lambda v: 0 <= v <= 0.5, "a number in [0, 0.5]")
    key_coin, key_order, *keys = jax.random.split(key, 6)
    sizes = (brightness, contrast) if _is_grey(image) else (brightness, contrast, saturation, hue)
    kinds = [kind for kind, size in enumerate(sizes) if not is_zero(size)]
    if is_zero(p) or not kinds:
        return image
    amounts = (
        between(keys[_BRIGHTNESS], -brightness, brightness),
        between(keys[_CONTRAST], jnp.maximum(1.0 - contrast, 0.0), 1.0 + contrast),
        between(keys[_SATURATION], jnp.maximum(1.0 - saturation, 0.0), 1.0 + saturation),
        between(keys[_HUE], -hue, hue),
    )
    order = jax.random.permutation(key_order, jnp.array(kinds, jnp.int32))
    changed = image
    for place in range(len(kinds)):
        changed = _change(changed, order[place], kinds, amounts, brightness_mode)
    return jnp.where(happens(key_coin, p), changed, image)


def _change(image, kind, kinds, amounts, brightness_mode):
    # A `switch` under `vmap` computes every branch; selecting by hand lets saturation and hue share one trip to HSV.
    changed = image
    if _BRIGHTNESS in kinds:
        lighter = brightness(image, delta=amounts[_BRIGHTNESS], mode=brightness_mode)
        changed = jnp.where(kind == _BRIGHTNESS, lighter, changed)
    if _CONTRAST in kinds:
        changed = jnp.where(kind == _CONTRAST, contrast(image, factor=amounts[_CONTRAST]), changed)
    if _SATURATION in kinds or _HUE in kinds:
        factor = jnp.where(kind == _SATURATION, amounts[_SATURATION], 1.0)
        delta = jnp.where(kind == _HUE, amounts[_HUE], 0.0)
        changed = jnp.where(kind >= _SATURATION, _shift_hsv(image, factor, delta), changed)
    return changed


def _shift_hsv(image, factor, delta):
    h, s, v = jnp.moveaxis(rgb_to_hsv(image), -1, 0)
    shifted = jnp.stack([jnp.mod(h + delta, 1.0), jnp.clip(s * factor, 0.0, 1.0), v], axis=-1)
    return jnp.clip(hsv_to_rgb(shifted), 0.0, 1.0)


def _is_grey(image: jax.Array) -> bool:
    check_image(image)
    if image.shape[2] not in (1, 3):
        raise InputError(f"image of shape {image.shape} is not accepted: colour needs 3 channels, or 1, which has none")
    return image.shape[2] == 1
