"""Grey values: fewer of them, spread evenly, turned round, and sharper edges between them."""

import jax
import jax.numpy as jnp

from kdjax.augment._image import check_image
from kdjax.core.check import check_option


def posterise(image: jax.Array, *, bits: float | jax.Array) -> jax.Array:
    """Keeps the highest bits of every pixel's 8; between two whole numbers of bits the two results are blended.

    Args:
      image: `[H, W, C]` in [0, 1].
      bits: from 0 (black) to 8 (nothing changes, but for rounding to 255 steps).

    Returns:
      `[H, W, C]` in [0, 1].

    Raises:
      InputError: for a bad shape or option.

    >>> (posterise(jnp.array([[[200.0], [100.0]]]) / 255, bits=1) * 255)[..., 0].tolist()
    [[128.0, 0.0]]
    """
    check_image(image)
    check_option("bits", bits, lambda b: 0 <= b <= 8, "a number from 0 to 8")
    levels, fewer = jnp.round(image * 255), jnp.floor(bits)

    def kept(number):
        size = jnp.round(jnp.exp2(8.0 - number))
        return jnp.floor(levels / size) * size / 255

    return kept(fewer) + (bits - fewer) * (kept(jnp.minimum(fewer + 1, 8)) - kept(fewer))


def equalise(image: jax.Array) -> jax.Array:
    """Spreads the values of each channel evenly over 0 to 255, as Pillow does.

    Args:
      image: `[H, W, C]` in [0, 1].

    Returns:
      `[H, W, C]` in [0, 1]; a channel of one value, or of fewer than 256 pixels, stays as it is.

    Raises:
      InputError: for a bad shape.

    >>> pale = jnp.linspace(0.4, 0.6, 1024).reshape(32, 32, 1)
    >>> float(equalise(pale).max() - equalise(pale).min())
    1.0
    """
    check_image(image)

    def channel(x):
        levels = jnp.round(x * 255).astype(jnp.int32)
        counts = jnp.zeros(256, jnp.int32).at[levels].add(1)
        step = (x.size - counts[jnp.max(levels)]) // 255
        below = jnp.cumsum(counts) - counts
        table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step == 0, x, table[levels] / 255.0)

    return jax.vmap(channel, 2, 2)(image)


def invert(image: jax.Array) -> jax.Array:
    """`1 - x`.

    Args:
      image: `[H, W, C]` in [0, 1].

    Returns:
      `[H, W, C]`.

    Raises:
      InputError: for a bad shape.

    >>> invert(jnp.full((1, 1, 1), 0.25)).item()
    0.75
    """
    check_image(image)
    return 1.0 - image


def sharpness(image: jax.Array, *, factor: float | jax.Array) -> jax.Array:
    """Away from, or towards, a smoothed copy: `factor * (x - smooth) + smooth`, clipped to [0, 1].

    Smooth is the mean over 3x3 pixels of which the middle counts five times; the outermost pixels stay, as in Pillow.

    Args:
      image: `[H, W, C]` in [0, 1].
      factor: 1 changes nothing, 0 gives the smoothed copy.

    Returns:
      `[H, W, C]` in [0, 1].

    Raises:
      InputError: for a bad shape.

    >>> print(f"{sharpness(jnp.zeros((3, 3, 1)).at[1, 1].set(1.0), factor=0.0)[1, 1, 0]:.4f}")  # 5/13
    0.3846
    """
    check_image(image)
    rows = image[:-2] + image[1:-1] + image[2:]
    inside = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * image[1:-1, 1:-1]) / 13
    smooth = image.at[1:-1, 1:-1].set(inside)
    return jnp.clip(factor * (image - smooth) + smooth, 0.0, 1.0)
