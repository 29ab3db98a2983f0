"""MobileNetV2: inverted residual blocks with a linear end; for large images, and half as wide for small ones."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d
from kdjax.models.heads import check_classes, pooled_and_logits
from kdjax.models.norm import batch_norm

# By stage, one for every size of the maps: groups of (expansion, channels, blocks, stride of the first block).
STAGES = (
    ((1, 16, 1, 1), (6, 24, 2, 2)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


class InvertedResidual(nn.Module):
    """A 1x1 convolution to more channels, a 3x3 one on each channel alone, a 1x1 one back, which no ReLU follows.

    Attributes:
      width: output channels.
      stride: of the 3x3 convolution.
      expansion: channels inside, per input channel.
      expand: whether there is a first convolution.
      relu: behind the first two convolutions.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    stride: int = 1
    expansion: int = 6
    expand: bool = True
    relu: Callable[[jax.Array], jax.Array] = nn.relu6
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C]` to `[B, H', W', width]`; the input is added where it has that shape."""
        norm = {"dtype": self.dtype, "axis_name": self.axis_name}
        inside, y = x.shape[-1] * self.expansion, x
        if self.expand:
            y = conv2d(inside, 1, dtype=self.dtype, name="conv1")(y)
            y = self.relu(batch_norm(train, **norm, name="bn1")(y))
        y = conv2d(inside, 3, stride=self.stride, groups=inside, dtype=self.dtype, name="conv2")(y)
        y = self.relu(batch_norm(train, **norm, name="bn2")(y))
        y = batch_norm(train, **norm, name="bn3")(conv2d(self.width, 1, dtype=self.dtype, name="conv3")(y))
        return x + y if y.shape == x.shape else y


class MobileNetV2(nn.Module):
    """A 3x3 convolution with stride 2, four stages of inverted residual blocks, a 1x1 convolution, mean, linear layer.

    For small images stage 1 has stride 1, the first block a first convolution, channels are not rounded, and ReLU is not cut at 6.

    Attributes:
      width: factor of the channels.
      small: whether it is the net for small images.
      classes: outputs of the linear layer; 0 or None for an encoder without logits.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: float = 1.0
    small: bool = False
    classes: int | None = 1000
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps; see `mobilenet_v2`."""
        options = {"dtype": self.dtype, "axis_name": self.axis_name}
        whole, relu = (int, nn.relu) if self.small else (_eights, nn.relu6)
        x = conv2d(whole(32 * self.width), 3, stride=2, dtype=self.dtype, name="conv")(x)
        x = relu(batch_norm(train, **options, name="bn")(x))
        taps = {"stem": x}
        for stage, groups in enumerate(STAGES, 1):
            number = 0
            for expansion, channels, blocks, stride in groups:
                for i in range(blocks):
                    number += 1
                    block = InvertedResidual(
                        whole(channels * self.width),
                        stride=stride if i == 0 and not (self.small and stage == 1) else 1,
                        expansion=expansion,
                        expand=self.small or expansion > 1,
                        relu=relu,
                        **options,
                        name=f"stage{stage}_block{number}",
                    )
                    x = block(x, train)
                    taps[f"stage{stage}_block{number}"] = x
            taps |= {f"stage{stage}": x, f"stage{stage}_preact": x}
        x = conv2d(whole(1280 * max(1.0, self.width)), 1, dtype=self.dtype, name="head_conv")(x)
        preact = batch_norm(train, **options, name="head_bn")(x)
        x = relu(preact)
        return taps | {"head": x, "head_preact": preact} | pooled_and_logits(x, self.classes, init=nn.initializers.normal(0.01))


def mobilenet_v2(classes: int | None = 1000, *, width: float = 1.0, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """MobileNetV2; 3,504,872 parameters with the defaults. Without the dropout in front of the linear layer.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      width: factor of the channels, each rounded to a multiple of 8; the last convolution has at least 1280.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stem"`, `"stage1"` to `"stage4"` (the linear ends of the last block of each size of
      maps: 24, 32, 96, 320 channels at a quarter to a 32nd of the side) and the same as `"stage1_preact"` to `"stage4_preact"`,
      `"stage1_block1"` and so on, `"head"` (the 1x1 convolution, 1280 channels) and `"head_preact"`, `"pooled"` `[B, 1280]`,
      `"logits"`.

    Raises:
      InputError: for a width of 0 or less, or a negative number of classes.

    Reference: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
    arXiv 1801.04381.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(mobilenet_v2(), (1, 64, 64, 3))
    3504872
    """
    check_option("width", width, lambda w: w > 0, "a number above 0")
    check_classes(classes)
    return from_linen(MobileNetV2(width, classes=classes, dtype=dtype, axis_name=axis_name))


def mobilenet_v2_half(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """MobileNetV2 of half width for small images, as the distillation benchmarks build it; 812,836 parameters at 100 classes.

    Unlike `mobilenet_v2(width=0.5)` it has 12 channels where that rounds to 16, ReLU for ReLU6, stride 1 in stage 1, and a first
    convolution in the first block too.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with the taps of `mobilenet_v2`: stages of 12, 16, 48, 160 channels at a half to a 16th of the
      side.

    Raises:
      InputError: for a negative number of classes.

    Reference: Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699, after Sandler et al.,
    "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv 1801.04381.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(mobilenet_v2_half(), (1, 32, 32, 3))
    812836
    """
    check_classes(classes)
    return from_linen(MobileNetV2(0.5, small=True, classes=classes, dtype=dtype, axis_name=axis_name))


def _eights(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
