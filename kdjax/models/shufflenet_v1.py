"""ShuffleNet: grouped 1x1 convolutions, with a shuffle of the channels between the groups."""

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

_GROUPS = 3
_STAGES = ((240, 4), (480, 8), (960, 4))  # channels, blocks


class ShuffleUnit(nn.Module):
    """A grouped 1x1 convolution, a shuffle, a 3x3 convolution on each channel alone, a grouped 1x1 convolution, a shortcut.

    With stride 1 the input is added; with stride 2 its means over 3x3 pixels stand behind the new channels.

    Attributes:
      width: output channels, those of the shortcut with them; a quarter of the new ones are inside.
      stride: of the 3x3 convolution.
      dense: whether the first convolution is not grouped.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    stride: int = 1
    dense: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, H, W, C]` to the output `[B, H', W', width]` and the same before its ReLU."""
        norm, conv = {"dtype": self.dtype, "axis_name": self.axis_name}, {"dtype": self.dtype, "init": fan_in_uniform}
        new = self.width - x.shape[-1] if self.stride == 2 else self.width
        inside, groups = new // 4, 1 if self.dense else _GROUPS
        y = conv2d(inside, 1, groups=groups, **conv, name="conv1")(x)
        y = shuffled(nn.relu(batch_norm(train, **norm, name="bn1")(y)), groups)
        y = conv2d(inside, 3, stride=self.stride, groups=inside, **conv, name="conv2")(y)
        y = nn.relu(batch_norm(train, **norm, name="bn2")(y))
        y = batch_norm(train, **norm, name="bn3")(conv2d(new, 1, groups=_GROUPS, **conv, name="conv3")(y))
        preact = x + y if self.stride == 1 else jnp.concatenate([y, _means(x)], -1)
        return nn.relu(preact), preact


class ShuffleNetV1(nn.Module):
    """A 1x1 convolution to 24 channels, three stages of shuffle units (stride 2 in the first of each), mean, linear layer.

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
        """Images `[B, H, W, C]` to the taps."""
        options = {"dtype": self.dtype, "axis_name": self.axis_name}
        x = conv2d(24, 1, init=fan_in_uniform, dtype=self.dtype, name="conv")(x)
        x = nn.relu(batch_norm(train, **options, name="bn")(x))
        taps = {"stem": x}
        for stage, (width, blocks) in enumerate(_STAGES, 1):
            preact = x
            for number in range(1, blocks + 1):
                first = number == 1
                name = f"stage{stage}_block{number}"
                unit = ShuffleUnit(width, stride=2 if first else 1, dense=first and stage == 1, **options, name=name)
                x, preact = unit(x, train)
                taps[name] = x
            taps |= {f"stage{stage}": x, f"stage{stage}_preact": preact}
        return taps | pooled_and_logits(x, self.classes, bias_init=fan_in_bias(x.shape[-1]))


def shufflenet_v1(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """ShuffleNet with 3 groups for small images; 949,258 parameters at 100 classes.

    The form of the distillation benchmarks: a 1x1 stem without stride or pool, a ReLU behind the 3x3 convolutions too.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stem"` (24 channels), `"stage1"` to `"stage3"` (240, 480, 960 channels at a half
      to an eighth of the side), `"stage1_preact"` to `"stage3_preact"`, `"stage1_block1"` and so on, `"pooled"` `[B, 960]`,
      `"logits"`.

    Raises:
      InputError: for a negative number of classes.

    Reference: Zhang, Zhou, Lin, Sun, "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
    CVPR 2018, arXiv 1707.01083; the form of Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020,
    arXiv 1910.10699.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(shufflenet_v1(), (1, 32, 32, 3))
    949258
    """
    check_classes(classes)
    return from_linen(ShuffleNetV1(classes, dtype=dtype, axis_name=axis_name))


def shuffled(x: jax.Array, groups: int) -> jax.Array:
    """Channels `[..., C]` in turn from each of `groups` groups of neighbours.

    >>> shuffled(jnp.arange(6), 2).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    return x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(x.shape)


def _means(x: jax.Array) -> jax.Array:
    """Means over 3x3 pixels with stride 2, where pixels outside count as zeros."""
    return nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]
