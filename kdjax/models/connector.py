"""The layer between a student's map and a teacher's of another shape."""

import flax.linen as nn
import jax

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError
from kdjax.models.conv import conv2d, fan_in_bias, fan_in_uniform, fan_out_uniform
from kdjax.models.norm import batch_norm


class Connector(nn.Module):
    """A convolution to the shape of another map, batch norm, and ReLU where asked for.

    Twice the side: a 3x3 convolution of stride 2; half the side: a transposed 4x4 one of stride 2; else one of kernel
    `1 + H - height` without padding, so 1x1 for equal sides. Kernels and biases start uniform in +-1/sqrt(fan in).

    Attributes:
      shape: `(height, width, channels)` of the output.
      relu: whether a ReLU ends it.
      axis_name: mapped axis of the batch statistics, or None.

    Reference: the regressor of FitNets (Romero et al., ICLR 2015, arXiv 1412.6550) in the code of Tian et al., ICLR 2020 (arXiv
    1910.10699).
    """

    shape: tuple[int, ...]
    relu: bool = True
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C]` to `[B, height, width, channels]`."""
        _, high, wide, inputs = x.shape
        height, width, channels = self.shape
        if (high, wide) == (2 * height, 2 * width):
            x = conv2d(channels, 3, stride=2, bias=True, init=fan_in_uniform, bias_init=fan_in_bias(9 * inputs), name="conv")(x)
        elif (2 * high, 2 * wide) == (height, width):
            start = {"kernel_init": fan_out_uniform, "bias_init": fan_in_bias(16 * channels)}
            x = nn.ConvTranspose(channels, (4, 4), (2, 2), padding="SAME", **start, name="conv")(x)
        elif high >= height and high - height == wide - width:
            kernel = (1 + high - height, 1 + wide - width)
            start = {"kernel_init": fan_in_uniform, "bias_init": fan_in_bias(kernel[0] * kernel[1] * inputs)}
            x = nn.Conv(channels, kernel, padding="VALID", **start, name="conv")(x)
        else:
            raise InputError(f"no connector from a map of {high}x{wide} to {height}x{width}: expected at most twice the side")
        x = batch_norm(train, axis_name=self.axis_name, name="bn")(x)
        return nn.relu(x) if self.relu else x
