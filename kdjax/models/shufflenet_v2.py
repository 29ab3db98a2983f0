"""ShuffleNetV2: half of the channels pass each block untouched, and a shuffle mixes the halves."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d, fan_in_bias, fan_in_uniform
from kdjax.models.heads import check_classes, pooled_and_logits
from kdjax.models.norm import batch_norm
from kdjax.models.shufflenet_v1 import shuffled

_STAGES = ((116, 4), (232, 8), (464, 4))  # channels, blocks
_HEAD = 1024


class SplitUnit(nn.Module):
    """1x1, 3x3 (on each channel alone) and 1x1 convolutions of the second half of the channels; then the halves are mixed.

    Attributes:
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, H, W, C]` to the output, and the two halves side by side before the last ReLU and the shuffle."""
        norm, conv = {"dtype": self.dtype, "axis_name": self.axis_name}, {"dtype": self.dtype, "init": fan_in_uniform}
        kept, y = jnp.split(x, 2, -1)
        half = y.shape[-1]
        y = nn.relu(batch_norm(train, **norm, name="bn1")(conv2d(half, 1, **conv, name="conv1")(y)))
        y = batch_norm(train, **norm, name="bn2")(conv2d(half, 3, groups=half, **conv, name="conv2")(y))
        y = batch_norm(train, **norm, name="bn3")(conv2d(half, 1, **conv, name="conv3")(y))
        return shuffled(jnp.concatenate([kept, nn.relu(y)], -1), 2), jnp.concatenate([kept, y], -1)


class DownUnit(nn.Module):
    """Two branches of the whole input, both with a stride in a 3x3 convolution on each channel alone, mixed.

    Attributes:
      width: output channels, half of them from each branch.
      stride: of the 3x3 convolutions.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    stride: int = 2
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C]` to `[B, H', W', width]`."""
        norm, conv = {"dtype": self.dtype, "axis_name": self.axis_name}, {"dtype": self.dtype, "init": fan_in_uniform}
        half, channels = self.width // 2, x.shape[-1]
        a = batch_norm(train, **norm, name="bn1")(conv2d(channels, 3, stride=self.stride, groups=channels, **conv, name="conv1")(x))
        a = nn.relu(batch_norm(train, **norm, name="bn2")(conv2d(half, 1, **conv, name="conv2")(a)))
        b = nn.relu(batch_norm(train, **norm, name="bn3")(conv2d(half, 1, **conv, name="conv3")(x)))
        b = batch_norm(train, **norm, name="bn4")(conv2d(half, 3, stride=self.stride, groups=half, **conv, name="conv4")(b))
        b = nn.relu(batch_norm(train, **norm, name="bn5")(conv2d(half, 1, **conv, name="conv5")(b)))
        return shuffled(jnp.concatenate([a, b], -1), 2)


class ShuffleNetV2(nn.Module):
    """A 1x1 convolution to 24 channels, three stages of a `DownUnit` and `SplitUnit`s, a 1x1 convolution, mean, linear layer.

    Attributes:
      classes: outputs of the linear layer; 0 or None for an encoder without logits.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    classes: int | None = 100
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps; see `shufflenet_v2`."""
        options, conv = {"dtype": self.dtype, "axis_name": self.axis_name}, {"dtype": self.dtype, "init": fan_in_uniform}
        x = nn.relu(batch_norm(train, **options, name="bn")(conv2d(24, 1, **conv, name="conv")(x)))
        taps = {"stem": x}
        for stage, (width, blocks) in enumerate(_STAGES, 1):
            x = preact = DownUnit(width, **options, name=f"stage{stage}_block1")(x, train)
            taps[f"stage{stage}_block1"] = x
            for number in range(2, blocks + 1):
                x, preact = SplitUnit(**options, name=f"stage{stage}_block{number}")(x, train)
                taps[f"stage{stage}_block{number}"] = x
            taps |= {f"stage{stage}": x, f"stage{stage}_preact": preact}
        preact = batch_norm(train, **options, name="head_bn")(conv2d(_HEAD, 1, **conv, name="head_conv")(x))
        x = nn.relu(preact)
        return taps | {"head": x, "head_preact": preact} | pooled_and_logits(x, self.classes, bias_init=fan_in_bias(x.shape[-1]))


def shufflenet_v2(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """ShuffleNetV2 of size 1 for small images; 1,355,528 parameters at 100 classes.

    The form of the distillation benchmarks: a 1x1 stem without stride or pool.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stem"` (24 channels), `"stage1"` to `"stage3"` (116, 232, 464 channels at a half
      to an eighth of the side), `"stage1_preact"` to `"stage3_preact"` (before the last ReLU and the shuffle: the untouched half
      first), `"stage1_block1"` and so on, `"head"` (the 1x1 convolution, 1024 channels) and `"head_preact"`, `"pooled"`
      `[B, 1024]`, `"logits"`.

    Raises:
      InputError: for a negative number of classes.

    Reference: Ma, Zhang, Zheng, Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018,
    arXiv 1807.11164; the form of Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(shufflenet_v2(), (1, 32, 32, 3))
    1355528
    """
    check_classes(classes)
    return from_linen(ShuffleNetV2(classes, dtype=dtype, axis_name=axis_name))
