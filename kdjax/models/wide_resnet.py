"""Wide residual nets: pre-activation blocks, three stages."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d
from kdjax.models.drop_path import check_drop_path, drop_path
from kdjax.models.heads import check_classes, pooled_and_logits
from kdjax.models.norm import batch_norm


class PreactBlock(nn.Module):
    """Batch norm and ReLU in front of each of two 3x3 convolutions; nothing after the sum.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the normalised, rectified input.

    Attributes:
      width: output channels.
      stride: of the block.
      drop_path: chance that a row leaves out the convolutions in training.
      drop_path_exact: whether just as many rows leave them out, see `drop_path`.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    stride: int = 1
    drop_path: float = 0.0
    drop_path_exact: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    expansion = 1  # output channels per unit of width

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, H, W, C]` to the output `[B, H', W', width]` and the normalised input before its ReLU."""
        norm = {"dtype": self.dtype, "axis_name": self.axis_name}
        preact = batch_norm(train, **norm, name="bn1")(x)
        y = nn.relu(preact)
        if x.shape[-1] != self.width:
            x = conv2d(self.width, 1, stride=self.stride, dtype=self.dtype, name="shortcut_conv")(y)
        kept = drop_path(self, len(x), self.drop_path, exact=self.drop_path_exact, train=train, axis_name=self.axis_name)
        y = conv2d(self.width, 3, stride=self.stride, dtype=self.dtype, name="conv1")(kept.take(y))
        y = nn.relu(batch_norm(train, **norm, name="bn2")(y))
        return x + kept.put(conv2d(self.width, 3, dtype=self.dtype, name="conv2")(y)), preact


class WideResNet(nn.Module):
    """A 3x3 convolution, three stages of pre-activation blocks, batch norm, ReLU, mean, linear layer.

    Attributes:
      depth: 6 n + 4 for n blocks per stage.
      width: widening factor of the channels 16, 32, 64 of the stages.
      classes: outputs of the linear layer; 0 or None for an encoder without logits.
      drop_path: chance of every block to be left out by a row in training.
      drop_path_exact: as in `PreactBlock`.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    depth: int
    width: int
    classes: int | None = 100
    drop_path: float = 0.0
    drop_path_exact: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps; see `wrn` for their meaning in a pre-activation net."""
        options = {"dtype": self.dtype, "axis_name": self.axis_name}
        dropped = {"drop_path": self.drop_path, "drop_path_exact": self.drop_path_exact}
        x = conv2d(16, 3, dtype=self.dtype, name="conv")(x)
        taps = {"stem": x}
        for stage in (1, 2, 3):
            for number in range(1, (self.depth - 4) // 6 + 1):
                name = f"stage{stage}_block{number}"
                block = PreactBlock(
                    16 * self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and number == 1 else 1,
                    **dropped,
                    **options,
                    name=name,
                )
                x, preact = block(x, train)
                taps[name] = x
                if stage > 1 and number == 1:
                    taps[f"stage{stage - 1}_preact"] = preact
            taps[f"stage{stage}"] = x
        x = batch_norm(train, **options, name="bn")(x)
        taps["stage3_preact"] = x
        return taps | pooled_and_logits(nn.relu(x), self.classes)


def wrn(
    depth: int,
    width: int,
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """A wide residual net WRN-depth-width, without dropout.

    The taps follow the distillation literature: `"stem"` is the first convolution; `"stage1"` to `"stage3"` are the
    *sums* that leave the stages, which no ReLU follows; `"stageN_preact"` is the same after the batch norm that comes
    next (that of the next stage's first block, or the last one of the net), before its ReLU.

    Args:
      depth: 6 n + 4.
      width: widening factor.
      classes: number of logits; 0 or None for an encoder without logits.
      drop_path: chance of every block to be left out by a row in training (stochastic depth); `apply` then needs a key.
      drop_path_exact: whether just as many rows leave out a block, which is then computed for the others alone, see `drop_path`.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stem"`, `"stage1"` to `"stage3"`, `"stage1_preact"` to
      `"stage3_preact"`, `"stage1_block1"` and so on (the sum that leaves each block), `"pooled"` `[B, 64 width]`, `"logits"`.

    Raises:
      InputError: for a depth that is not 6 n + 4, a width below 1, a negative number of classes, or a chance that is none.

    Reference: Zagoruyko, Komodakis, "Wide Residual Networks", BMVC 2016, arXiv 1605.07146.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(wrn(10, 1), (1, 32, 32, 3))
    83700
    """
    check_option("depth", depth, lambda d: d > 4 and d % 6 == 4, "a number 6 n + 4, such as 16, 28 or 40")
    check_option("width", width, lambda w: w >= 1, "a whole number of at least 1")
    check_classes(classes)
    check_drop_path(drop_path)
    dropped = {"drop_path": drop_path, "drop_path_exact": drop_path_exact}
    return from_linen(WideResNet(depth, width, classes=classes, **dropped, dtype=dtype, axis_name=axis_name))


def wrn_16_1(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """WRN-16-1; 180,916 parameters at 100 classes. See `wrn`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(wrn_16_1(), (1, 32, 32, 3))
    180916
    """
    return wrn(16, 1, classes, dtype=dtype, axis_name=axis_name)


def wrn_16_2(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """WRN-16-2; 703,284 parameters at 100 classes. See `wrn`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(wrn_16_2(), (1, 32, 32, 3))
    703284
    """
    return wrn(16, 2, classes, dtype=dtype, axis_name=axis_name)


def wrn_28_10(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """WRN-28-10; 36,536,884 parameters at 100 classes. See `wrn`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(wrn_28_10(), (1, 32, 32, 3))
    36536884
    """
    return wrn(28, 10, classes, dtype=dtype, axis_name=axis_name)


def wrn_40_1(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """WRN-40-1; 569,780 parameters at 100 classes. See `wrn`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(wrn_40_1(), (1, 32, 32, 3))
    569780
    """
    return wrn(40, 1, classes, dtype=dtype, axis_name=axis_name)


def wrn_40_2(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """WRN-40-2; 2,255,156 parameters at 100 classes. See `wrn`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(wrn_40_2(), (1, 32, 32, 3))
    2255156
    """
    return wrn(40, 2, classes, dtype=dtype, axis_name=axis_name)
