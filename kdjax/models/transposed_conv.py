"""Transposed convolutions that double the sides of a map, as plain convolutions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.models.conv import convolution, fan_out_uniform


def doubling_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The transposed convolution with stride 2 that doubles both sides: `[B, H, W, I]` to `[B, 2 H, 2 W, O]`.

        out[b, y] = sum of x[b, i] kernel[2 i + k/2 - y] over i, in both directions, k the side of the kernel

    Every output pixel sees k/2 pixels of `x` in each direction. So a convolution with a kernel of half the side for each place in a
    2x2 square of output pixels is the same: one plain convolution of four times the channels, whose gradients are fast on a CPU.

    Args:
      x: the map.
      kernel: `[k, k, I, O]`, k 4 or 6, laid out as that of a convolution of `x` filled up with zeros, as `nn.ConvTranspose` has it;
        PyTorch's is flipped in both directions.

    >>> doubling_convolution(jnp.ones((1, 2, 3, 1)), jnp.ones((4, 4, 1, 5))).shape
    (1, 4, 6, 5)
    """
    batch, height, width, inputs = x.shape
    side, outputs = kernel.shape[0] // 2, kernel.shape[-1]
    # With k = 4 an even output pixel y = 2 j sees x[j - 1] and x[j] through taps 0 and 2, the odd one behind it x[j] and x[j + 1]
    # through taps 1 and 3: windows at j and at j + 1. With k = 6 both see x[j - 1] to x[j + 1], through taps 1, 3, 5 and 0, 2, 4.
    parts = kernel.reshape(side, 2, side, 2, inputs, outputs).transpose(0, 2, 4, 1, 3, 5)
    first, second = (0, 1) if side == 2 else (0, 0)
    if side == 3:
        parts = jnp.flip(parts, (3, 4))
    parts = parts.reshape(side, side, inputs, 4 * outputs)
    y = convolution(x, parts, (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = y.reshape(*y.shape[:3], 2, 2, outputs)
    rows = jnp.stack([y[:, at : at + height, :, p] for p, at in enumerate((first, second))], 2)  # [B, H, 2, W', 2, O]
    both = jnp.stack([rows[:, :, :, at : at + width, q] for q, at in enumerate((first, second))], 4)
    return both.reshape(batch, 2 * height, 2 * width, outputs)


class DoublingConv(nn.Module):
    """`doubling_convolution` of a kernel `[4, 4, I, features]`, without bias.

    Attributes:
      features: output channels.
      kernel_init: initialiser of the kernel.
      dtype: of the computation.
    """

    features: int
    kernel_init: Any = fan_out_uniform
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` to `[B, 2 H, 2 W, features]`."""
        kernel = self.param("kernel", self.kernel_init, (4, 4, x.shape[-1], self.features))
        return doubling_convolution(x.astype(self.dtype), kernel.astype(self.dtype))
