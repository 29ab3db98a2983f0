"""From a map of features to a larger image."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.check import InputError
from kdjax.models.conv import conv2d, fan_in_uniform


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """Channels to positions: `[B, H, W, C r r] -> [B, H r, W r, C]`, channel `c r r + i r + j` to row i, column j of each r x r.

    Args:
      x: the map.
      factor: r, 1 or more.

    Raises:
      InputError: where r r does not divide the channels.

    Reference: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
    Network", CVPR 2016, arXiv 1609.05158.

    >>> pixel_shuffle(jnp.arange(4.0).reshape(1, 1, 1, 4), 2)[0, :, :, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    batch, height, width, channels = x.shape
    if channels % factor**2:
        raise InputError(f"a map of {channels} channels cannot be shuffled by factor={factor}: expected a multiple of {factor**2}")
    x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, height * factor, width * factor, channels // factor**2)


class Upscaler(nn.Module):
    """A 1x1 convolution, `pixel_shuffle`, a leaky ReLU with a trained slope a channel, 0.25 at first; what is too large is cut off.

    Attributes:
      shape: `(height, width, channels)` of the image.

    Reference: Guo et al., "Pixel Distillation", arXiv 2112.09532 (the super-resolution head).
    """

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` to `[B, height, width, channels]`."""
        height, width, channels = self.shape
        factor = max(-(-height // x.shape[1]), -(-width // x.shape[2]))
        x = conv2d(channels * factor**2, 1, init=fan_in_uniform, name="conv")(x)
        x = pixel_shuffle(x, factor)[:, :height, :width]
        slope = self.param("slope", nn.initializers.constant(0.25), (channels,))
        return jnp.where(x > 0, x, x * slope.reshape(1, 1, 1, channels))
