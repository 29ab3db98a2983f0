"""Small private pieces that the transforms share."""

import jax
import jax.numpy as jnp
from jax.core import Tracer

from kdjax.core.check import InputError, check_option


def check_image(image: jax.Array) -> None:
    """Refuses anything but one floating image `[H, W, C]`; a batch goes through `jax.vmap`."""
    if image.ndim != 3:
        raise InputError(f"image of shape {image.shape} is not accepted: expected one [H, W, C]; vmap over a batch")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(f"image of dtype {image.dtype} is not accepted: expected floats in [0, 1]; see as_float")


def check_range(name: str, bounds: tuple, low: float = 0.0) -> None:
    """Refuses a pair that is not `low <= bounds[0] <= bounds[1]`; traced ends pass."""
    if any(isinstance(x, Tracer) for x in bounds):
        return
    check_option(name, bounds, lambda b: len(b) == 2 and low <= b[0] <= b[1], f"a pair (low, high), {low} <= low <= high")


def check_positive_range(name: str, bounds: tuple, most: float = float("inf")) -> None:
    """Refuses a pair that is not `0 < bounds[0] <= bounds[1] <= most`; traced ends pass."""
    if any(isinstance(x, Tracer) for x in bounds):
        return
    below = f" <= {most:g}" if most < float("inf") else ""
    check_option(name, bounds, lambda b: len(b) == 2 and 0 < b[0] <= b[1] <= most, f"a pair (low, high), 0 < low <= high{below}")


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """`(height, width)` of a size given as one number or as a pair."""
    height, width = (size, size) if isinstance(size, int) else size
    check_option("size", size, lambda _: height > 0 and width > 0, "a whole number above 0, or a pair of them")
    return height, width


def is_zero(value: float | jax.Array) -> bool:
    """Whether a number is known to be 0 while tracing."""
    return not isinstance(value, Tracer) and bool(value == 0)


def happens(key: jax.Array, p: float | jax.Array) -> jax.Array:
    """A coin that is true with probability `p`."""
    check_option("p", p, lambda v: 0 <= v <= 1, "a probability in [0, 1]")
    return jax.random.bernoulli(key, p)


def between(key: jax.Array, low, high, shape: tuple[int, ...] = ()) -> jax.Array:
    """Uniform float32 numbers in [low, high)."""
    return jax.random.uniform(key, shape, jnp.float32, low, high)


def box_mask(height: int, width: int, box: tuple) -> jax.Array:
    """The mask `[H, W, 1]`, true inside `box = (top, left, box height, box width)`; it may reach over the border."""
    top, left, tall, wide = box
    y, x = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    return ((y >= top) & (y < top + tall) & (x >= left) & (x < left + wide))[:, :, None]
