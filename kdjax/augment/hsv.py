"""Hue, saturation and value of RGB images, without branches or table look-ups."""

import jax
import jax.numpy as jnp


def rgb_to_hsv(image: jax.Array) -> jax.Array:
    """Turns RGB into HSV (hexcone model): `v = max`, `s = (max - min) / max`, hue as a share of the circle.

    Args:
      image: `[..., 3]` in [0, 1].

    Returns:
      `[..., 3]`: hue in [0, 1) (0 for greys), saturation in [0, 1] (0 for black), value in [0, 1].

    >>> rgb_to_hsv(jnp.array([0.0, 0.5, 0.5])).tolist()
    [0.5, 1.0, 0.5]
    """
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.max(image, axis=-1)
    chroma = value - jnp.min(image, axis=-1)
    # Divisors of 1 where the true one is 0 keep NaN out of the value and of the gradient.
    saturation = chroma / jnp.where(value > 0, value, 1.0)
    safe = jnp.where(chroma > 0, chroma, 1.0)
    sixth = jnp.where(
        value == red,
        jnp.mod((green - blue) / safe, 6.0),
        jnp.where(value == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    # A tiny negative difference rounds to 6 in float32: the full circle is hue 0.
    hue = jnp.where((chroma > 0) & (sixth < 6.0), sixth / 6.0, 0.0)
    return jnp.stack([hue, saturation, value], axis=-1)


def hsv_to_rgb(image: jax.Array) -> jax.Array:
    """The inverse of `rgb_to_hsv`: `v - v s max(0, min(k, 4 - k, 1))`, `k = (n + 6 h) mod 6`, n = 5, 3, 1 for R, G, B.

    Args:
      image: `[..., 3]`; hue of any value (taken modulo 1), saturation and value in [0, 1].

    Returns:
      `[..., 3]` in [0, 1].

    >>> hsv_to_rgb(jnp.array([1 / 3, 1.0, 0.5])).round(3).tolist()
    [0.0, 0.5, 0.0]
    """
    hue, saturation, value = image[..., 0], image[..., 1], image[..., 2]

    def channel(n):
        k = jnp.mod(n + 6.0 * hue, 6.0)
        return value - value * saturation * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)

    return jnp.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1)
