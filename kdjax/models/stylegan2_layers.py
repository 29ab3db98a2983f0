"""Layers with an equalised learning rate, and the filter in front of and behind StyleGAN's changes of size."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.models.conv import convolution
from kdjax.models.transposed_conv import doubling_convolution

FILTER = (0.125, 0.375, 0.375, 0.125)  # binomial, its sum 1


class EqualDense(nn.Module):
    """A linear layer whose kernel starts standard normal and is scaled where it is used: `x W rate / sqrt(in) + rate b`.

    So an optimiser that normalises gradients moves all layers at one relative pace. The kernel starts `1 / rate` as large.

    Attributes:
      features: outputs.
      rate: factor of the layer's learning rate.
      bias: where the offset starts.
      dtype: of the computation.

    Reference: Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR 2018, arXiv
    1710.10196.
    """

    features: int
    rate: float = 1.0
    bias: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[..., D]` to `[..., features]`."""
        kernel = self.param("kernel", nn.initializers.normal(1 / self.rate), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias), (self.features,))
        x, kernel = x.astype(self.dtype), (kernel * (self.rate / math.sqrt(x.shape[-1]))).astype(self.dtype)
        return x @ kernel + jnp.broadcast_to((bias * self.rate).astype(self.dtype), (*x.shape[:-1], self.features))


class EqualConv(nn.Module):
    """A convolution whose kernel starts standard normal and is scaled where it is used, by `1 / sqrt(in side^2)`.

    Attributes:
      features: output channels.
      side: of the kernel, in pixels; `side // 2` zeros are around the map, but with `half`.
      half: whether both sides are halved, the map filtered first.
      bias: whether an offset is added, 0 at first.
      dtype: of the computation.
    """

    features: int
    side: int = 3
    half: bool = False
    bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` to `[B, H', W', features]`."""
        inside = (self.side, self.side, x.shape[-1])
        kernel = self.param("kernel", nn.initializers.normal(1.0), (*inside, self.features))
        kernel = (kernel / math.sqrt(math.prod(inside))).astype(self.dtype)
        x, zeros, stride = x.astype(self.dtype), self.side // 2, 1
        if self.half:
            x, zeros, stride = filtered(x, zeros + 1), 0, 2
        numbers = ("NHWC", "HWIO", "NHWC")
        x = convolution(x, kernel, (stride, stride), [(zeros, zeros)] * 2, dimension_numbers=numbers)
        if not self.bias:
            return x
        return x + jnp.broadcast_to(self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype), x.shape)


def filtered(x: jax.Array, zeros: int) -> jax.Array:
    """A map with `zeros` around it behind the filter `[1, 3, 3, 1] / 8` in both directions; sides grow by 2 `zeros` - 3.

    >>> filtered(jnp.ones((1, 4, 4, 1)), 0)[0, :, :, 0].tolist()
    [[1.0]]
    """
    x = jnp.pad(x, ((0, 0), (zeros, zeros), (zeros, zeros), (0, 0)))
    for axis in (1, 2):
        size = x.shape[axis] - 3
        parts = [tap * jax.lax.slice_in_dim(x, at, at + size, axis=axis) for at, tap in enumerate(FILTER)]
        x = parts[0] + parts[1] + parts[2] + parts[3]
    return x


def doubled_kernel(kernel: jax.Array) -> jax.Array:
    """The kernel `[6, 6, I, O]` for `doubling_convolution` of one `[3, 3, I, O]` on the map filled up with zeros and filtered.

    The filter is doubled in each direction, as every other pixel is 0.

    >>> doubled_kernel(jnp.ones((3, 3, 1, 1)))[:, 0, 0, 0].tolist()
    [0.0625, 0.25, 0.4375, 0.4375, 0.25, 0.0625]
    """
    for axis in (0, 1):
        around = [[(at, 3 - at) if a == axis else (0, 0) for a in range(4)] for at in range(4)]
        parts = [2 * tap * jnp.pad(kernel, zeros) for tap, zeros in zip(FILTER, around, strict=True)]
        kernel = parts[0] + parts[1] + parts[2] + parts[3]
    return kernel


def smoothly_doubled(x: jax.Array) -> jax.Array:
    """A map of twice the sides, filled up with zeros and filtered: `[B, H, W, C]` to `[B, 2 H, 2 W, C]`.

    >>> smoothly_doubled(jnp.ones((1, 4, 4, 1)))[0, 2:6, 3, 0].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    taps = 2 * jnp.asarray(FILTER, x.dtype)
    channels = jnp.eye(x.shape[-1], dtype=x.dtype)
    return doubling_convolution(x, jnp.einsum("h,w,io->hwio", taps, taps, channels))


def leaky(x: jax.Array) -> jax.Array:
    """Leaky ReLU with slope 0.2, times sqrt(2), which keeps the scale of a normal input.

    >>> leaky(jnp.array([-5.0, 0.0])).tolist()
    [-1.4142135381698608, 0.0]
    """
    return nn.leaky_relu(x, 0.2) * math.sqrt(2)
