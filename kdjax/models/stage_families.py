"""How nets of each kind go on from one of their maps."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.models.conv import conv2d
from kdjax.models.conv_net import halve
from kdjax.models.mobilenet_v2 import InvertedResidual
from kdjax.models.norm import batch_norm
from kdjax.models.resnet import BasicBlock, Bottleneck
from kdjax.models.shufflenet_v1 import ShuffleUnit
from kdjax.models.shufflenet_v2 import DownUnit, SplitUnit
from kdjax.models.taps import stage_names
from kdjax.models.wide_resnet import PreactBlock


class ConvBlock(nn.Module):
    """A stage of `conv_net`, or a layer of a VGG: with stride 2 a max-pool first, then 3x3 convolution, batch norm, ReLU.

    Attributes:
      width: output channels.
      stride: 1 or 2.
      bias: whether the convolution has one.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    stride: int = 1
    bias: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, H, W, C]` to the output `[B, H', W', width]` and the same before its ReLU."""
        x = conv2d(self.width, 3, bias=self.bias, dtype=self.dtype, name="conv")(halve(x) if self.stride == 2 else x)
        preact = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name="bn")(x)
        return nn.relu(preact), preact


class Family(NamedTuple):
    """How nets of one kind go on from one of their maps.

    Attributes:
      block: `(width, number, *, stride, ...) -> ` block `number` of a stage, with so many channels in the end.
      relu: the activation behind the `"head"`, where there is one.
      end: whether batch norm and ReLU follow the last block.
      stages: `taps -> ` the stages, in order, those that share a size of map together.
    """

    block: Callable[..., nn.Module]
    relu: Callable[[jax.Array], jax.Array] = nn.relu
    end: bool = False
    stages: Callable[[Mapping[str, jax.Array]], list[list[str]]] = lambda taps: [[name] for name in stage_names(taps)]


def _family(block: Callable[..., nn.Module], expansion: int = 1, **more: Any) -> Family:
    return Family(lambda width, number, **options: block(width // expansion, **options), **more)


def _inverted(relu: Callable[[jax.Array], jax.Array]) -> Family:
    return Family(lambda width, number, **options: InvertedResidual(width, relu=relu, **options), relu)


def _halves(width: int, number: int, *, stride: int, **options: Any) -> nn.Module:
    return DownUnit(width, stride=stride, **options) if number == 1 else SplitUnit(**options)


def _by_side(taps: Mapping[str, jax.Array]) -> list[list[str]]:
    """The stages of a VGG, of which the stem is one, by the side of their maps."""
    return [list(names) for _, names in groupby(["stem", *stage_names(taps)], lambda name: taps[name].shape[1])]


FAMILIES: dict[str, Family] = {
    "conv_net": _family(ConvBlock),
    **dict.fromkeys(("resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), _family(BasicBlock)),
    **dict.fromkeys(("resnet8x4", "resnet32x4", "resnet18", "resnet34"), _family(BasicBlock)),
    "preact_resnet18": _family(PreactBlock),
    "resnet50": _family(Bottleneck, Bottleneck.expansion),
    **dict.fromkeys(("wrn", "wrn_16_1", "wrn_16_2", "wrn_28_10", "wrn_40_1", "wrn_40_2"), _family(PreactBlock, end=True)),
    **dict.fromkeys(("vgg8", "vgg11", "vgg13", "vgg16", "vgg19"), _family(partial(ConvBlock, bias=True), stages=_by_side)),
    "mobilenet_v2": _inverted(nn.relu6),
    "mobilenet_v2_half": _inverted(nn.relu),
    "shufflenet_v1": _family(ShuffleUnit),
    "shufflenet_v2": Family(_halves),
}
