"""Residual nets with post-activation blocks: the module behind all of them, and ResNet-18, 34 and 50."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d, fan_in_bias
from kdjax.models.drop_path import DropPath, drop_path
from kdjax.models.heads import check_classes, pooled_and_logits
from kdjax.models.norm import batch_norm


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the stride is in the first.

    Attributes:
      width: output channels.
      stride: of the block.
      zero_init_last: whether the scale of the last batch norm starts at 0.
      drop_path: chance that a row leaves out the convolutions in training.
      drop_path_exact: whether just as many rows leave them out, see `drop_path`.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    stride: int = 1
    zero_init_last: bool = False
    drop_path: float = 0.0
    drop_path_exact: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    expansion = 1  # output channels per unit of width

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, H, W, C]` to the output `[B, H', W', width]` and the same before its ReLU."""
        norm = {"dtype": self.dtype, "axis_name": self.axis_name}
        kept = _kept(self, x, train)
        y = conv2d(self.width, 3, stride=self.stride, dtype=self.dtype, name="conv1")(kept.take(x))
        y = nn.relu(batch_norm(train, **norm, name="bn1")(y))
        y = conv2d(self.width, 3, dtype=self.dtype, name="conv2")(y)
        y = batch_norm(train, scale_init=_scale_init(self.zero_init_last), **norm, name="bn2")(y)
        preact = kept.put(y) + _shortcut(x, self.width, self.stride, train, norm)
        return nn.relu(preact), preact


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the stride is in the 3x3 one ("v1.5").

    Attributes:
      width: channels of the inner convolutions; the output has four times as many.
      stride: of the block.
      zero_init_last: whether the scale of the last batch norm starts at 0.
      drop_path: chance that a row leaves out the convolutions in training.
      drop_path_exact: whether just as many rows leave them out, see `drop_path`.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    stride: int = 1
    zero_init_last: bool = False
    drop_path: float = 0.0
    drop_path_exact: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, H, W, C]` to the output `[B, H', W', 4 width]` and the same before its ReLU."""
        norm = {"dtype": self.dtype, "axis_name": self.axis_name}
        kept = _kept(self, x, train)
        y = conv2d(self.width, 1, dtype=self.dtype, name="conv1")(kept.take(x))
        y = nn.relu(batch_norm(train, **norm, name="bn1")(y))
        y = conv2d(self.width, 3, stride=self.stride, dtype=self.dtype, name="conv2")(y)
        y = nn.relu(batch_norm(train, **norm, name="bn2")(y))
        y = conv2d(4 * self.width, 1, dtype=self.dtype, name="conv3")(y)
        y = batch_norm(train, scale_init=_scale_init(self.zero_init_last), **norm, name="bn3")(y)
        preact = kept.put(y) + _shortcut(x, 4 * self.width, self.stride, train, norm)
        return nn.relu(preact), preact


def _kept(block: BasicBlock | Bottleneck, x: jax.Array, train: bool) -> DropPath:
    return drop_path(block, len(x), block.drop_path, exact=block.drop_path_exact, train=train, axis_name=block.axis_name)


def _scale_init(zero: bool) -> Any:
    return nn.initializers.zeros if zero else nn.initializers.ones


def _shortcut(x: jax.Array, features: int, stride: int, train: bool, norm: dict[str, Any]) -> jax.Array:
    if stride == 1 and x.shape[-1] == features:
        return x
    x = conv2d(features, 1, stride=stride, dtype=norm["dtype"], name="shortcut_conv")(x)
    return batch_norm(train, **norm, name="shortcut_bn")(x)


class ResNet(nn.Module):
    """A stem, stages of residual blocks (stride 2 in the first block of all but the first), mean, linear layer.

    Attributes:
      depths: blocks per stage.
      widths: width of the blocks of each stage.
      block: `BasicBlock` or `Bottleneck`.
      stem: "cifar" (3x3 convolution) or "imagenet" (7x7 with stride 2, then 3x3 max-pool with stride 2).
      stem_width: channels of the stem.
      classes: outputs of the linear layer; 0 or None for an encoder without logits.
      zero_init_last: whether the scale of the last batch norm of each block starts at 0.
      drop_path: chance of every block to be left out by a row in training.
      drop_path_exact: as in `BasicBlock`.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    block: type[BasicBlock] | type[Bottleneck] = BasicBlock
    stem: str = "cifar"
    stem_width: int = 64
    classes: int | None = 1000
    zero_init_last: bool = False
    drop_path: float = 0.0
    drop_path_exact: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps; `"stem"` is what enters the first stage."""
        large = self.stem == "imagenet"
        x = conv2d(self.stem_width, 7 if large else 3, stride=2 if large else 1, dtype=self.dtype, name="conv")(x)
        x = nn.relu(batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name="bn")(x))
        if large:
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]
        taps = {"stem": x}
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            preact = x
            for number in range(1, depth + 1):
                name = f"stage{stage}_block{number}"
                x, preact = self.block(
                    width,
                    stride=2 if stage > 1 and number == 1 else 1,
                    zero_init_last=self.zero_init_last,
                    drop_path=self.drop_path,
                    drop_path_exact=self.drop_path_exact,
                    dtype=self.dtype,
                    axis_name=self.axis_name,
                    name=name,
                )(x, train)
                taps[name] = x
            taps |= {f"stage{stage}": x, f"stage{stage}_preact": preact}
        return taps | pooled_and_logits(x, self.classes, bias_init=fan_in_bias(x.shape[-1]))


def resnet18(
    classes: int | None = 1000,
    *,
    stem: str = "imagenet",
    zero_init_last: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """ResNet-18: basic blocks 2, 2, 2, 2 of widths 64 to 512; 11,689,512 parameters with the defaults.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      stem: "imagenet" (7x7 with stride 2, 3x3 max-pool with stride 2) or "cifar" (3x3, no pool).
      zero_init_last: whether the last scale of each block starts at 0.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stem"`, `"stage1"` to `"stage4"`, `"stage1_preact"` to
      `"stage4_preact"`, `"stage1_block1"` and so on (the output of each block), `"pooled"` `[B, 512]`, `"logits"`.

    Raises:
      InputError: for another stem or a negative number of classes.

    Reference: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet18(), (1, 64, 64, 3))
    11689512
    """
    return _imagenet((2, 2, 2, 2), BasicBlock, classes, stem, zero_init_last, dtype, axis_name)


def resnet34(
    classes: int | None = 1000,
    *,
    stem: str = "imagenet",
    zero_init_last: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """ResNet-34: basic blocks 3, 4, 6, 3; 21,797,672 parameters with the defaults. The rest as in `resnet18`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet34(), (1, 64, 64, 3))
    21797672
    """
    return _imagenet((3, 4, 6, 3), BasicBlock, classes, stem, zero_init_last, dtype, axis_name)


def resnet50(
    classes: int | None = 1000,
    *,
    stem: str = "imagenet",
    zero_init_last: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """ResNet-50: bottlenecks 3, 4, 6, 3, the stride in the 3x3 convolution; 25,557,032 parameters with the defaults.

    `"pooled"` is `[B, 2048]`; the rest as in `resnet18`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet50(), (1, 64, 64, 3))
    25557032
    """
    return _imagenet((3, 4, 6, 3), Bottleneck, classes, stem, zero_init_last, dtype, axis_name)


def _imagenet(depths, block, classes, stem, zero_init_last, dtype, axis_name) -> Net:
    check_classes(classes)
    check_option("stem", stem, lambda s: s in ("cifar", "imagenet"), '"cifar" or "imagenet"')
    widths = (64, 128, 256, 512)
    return from_linen(
        ResNet(
            depths,
            widths,
            block=block,
            stem=stem,
            classes=classes,
            zero_init_last=zero_init_last,
            dtype=dtype,
            axis_name=axis_name,
        )
    )
