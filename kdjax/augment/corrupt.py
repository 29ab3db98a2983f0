"""Damage of known kinds and strengths, by which a network's robustness is measured."""

import jax
import jax.numpy as jnp

from kdjax.augment._image import check_image
from kdjax.augment.blur import gaussian_blur
from kdjax.augment.colour import brightness, contrast
from kdjax.augment.hsv import hsv_to_rgb, rgb_to_hsv
from kdjax.augment.noise import gaussian_noise
from kdjax.core.check import check_option, pick

# Of CIFAR-10-C, for images of 32 pixels in [0, 1].
CORRUPTIONS: dict[str, tuple[float, ...]] = {
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the value of HSV
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor of what lies off the mean
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # width in pixels
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.1),  # standard deviation
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of numbers that become 0 or 1
}


def corrupt(key: jax.Array, image: jax.Array, *, kind: str, strength: int | jax.Array) -> jax.Array:
    """The image with damage of one of `CORRUPTIONS`.

    Args:
      key: random key.
      image: `[H, W, C]` in [0, 1], of 1 or 3 channels.
      kind: of the damage.
      strength: 1 to 5.

    Returns:
      `[H, W, C]` in [0, 1].

    Raises:
      InputError: for a bad shape or option.

    Reference:
      Hendrycks, Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019, arXiv
      1903.12261. Differs from the authors' code in the border of a blur, where all outside is zero.

    >>> print(f"{corrupt(jax.random.key(0), jnp.full((1, 1, 1), 0.5), kind='brightness', strength=5)[0, 0, 0]:.2f}")
    0.80
    """
    check_image(image)
    strengths = pick("kind", kind, CORRUPTIONS)
    check_option("strength", strength, lambda s: s in (1, 2, 3, 4, 5), "1 to 5")
    amount = jnp.asarray(strengths)[strength - 1]
    if kind == "brightness":
        return _lighter(image, amount)
    if kind == "contrast":
        return contrast(image, factor=amount)
    if kind == "gaussian_blur":
        return gaussian_blur(key, image, sigma=(amount, amount), radius=4)
    if kind == "gaussian_noise":
        return gaussian_noise(key, image, std=amount)
    key_where, key_which = jax.random.split(key)
    hit = jax.random.bernoulli(key_where, amount, image.shape)
    return jnp.where(hit, jax.random.bernoulli(key_which, shape=image.shape).astype(image.dtype), image)


def _lighter(image: jax.Array, amount: jax.Array) -> jax.Array:
    if image.shape[-1] == 1:
        return brightness(image, delta=amount)
    hue, saturation, value = jnp.moveaxis(rgb_to_hsv(image), -1, 0)
    return jnp.clip(hsv_to_rgb(jnp.stack([hue, saturation, jnp.clip(value + amount, 0.0, 1.0)], axis=-1)), 0.0, 1.0)
