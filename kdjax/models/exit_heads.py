"""Small heads from the map of a stage to what the last stage of a net has, in place of copies of the stages between."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.models.conv import conv2d
from kdjax.models.norm import batch_norm


class BottleneckExit(nn.Module):
    """1x1 convolution to a quarter of the channels, one whose kernel is its stride, 1x1; batch norm and ReLU behind each.

    Attributes:
      width: output channels.
      factor: by which the sides shrink.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.

    Reference: the branches of a re-implementation (luanyunteng/pytorch-be-your-own-teacher) of Zhang et al., ICCV 2019
    (arXiv 1905.08094).
    """

    width: int
    factor: int
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C]` to `[B, H // factor, W // factor, width]`."""
        for k, (width, kernel) in enumerate(((self.width // 4, 1), (self.width // 4, self.factor), (self.width, 1)), 1):
            layer = conv2d(max(1, width), kernel, stride=kernel, padding=0, bias=True, dtype=self.dtype, name=f"conv{k}")
            x = nn.relu(batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"bn{k}")(layer(x)))
        return x


class SeparableExit(nn.Module):
    """The map times a gate, then a pair of separable 3x3 convolutions for each of the stages between.

    The gate is a pair too, back to the map's size (bilinear), and a sigmoid. In a pair the first one keeps the channels and has the
    stride; batch norm and ReLU follow both.

    Attributes:
      widths: channels behind each pair.
      strides: of each pair.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.

    Reference: the authors' code of Zhang, Bao and Ma, Self-Distillation: Towards Efficient and Compact Neural Networks, TPAMI 2021.
    """

    widths: Sequence[int]
    strides: Sequence[int]
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C]` to `[B, H', W', widths[-1]]`."""
        gate = self._pair(x, x.shape[-1], 2, "gate", train)
        x = x * nn.sigmoid(jax.image.resize(gate, x.shape, "bilinear"))
        for k, (width, stride) in enumerate(zip(self.widths, self.strides, strict=True), 1):
            x = self._pair(x, width, stride, f"pair{k}", train)
        return x

    def _pair(self, x, width, stride, name, train):
        channels = x.shape[-1]
        for k, (out, step) in enumerate(((channels, stride), (width, 1)), 1):
            x = conv2d(channels, 3, stride=step, groups=channels, dtype=self.dtype, name=f"{name}_depthwise{k}")(x)
            x = conv2d(out, 1, dtype=self.dtype, name=f"{name}_pointwise{k}")(x)
            x = nn.relu(batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"{name}_bn{k}")(x))
        return x
