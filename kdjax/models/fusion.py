"""One classifier of the maps of several nets."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError, check_count, check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d
from kdjax.models.heads import pooled_and_logits
from kdjax.models.norm import batch_norm


class MultiScale(nn.Module):
    """Groups of channels, each of which sees more than the one before: `y_1 = x_1`, `y_i = ReLU(BN(conv3x3(x_i + y_(i-1))))`.

    All groups together go through a 1x1 convolution.

    Attributes:
      scales: groups, by which the number of channels can be divided.
      axis_name: mapped axis of the batch statistics, or None.
    """

    scales: int = 4
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C]` to the same shape."""
        channels = x.shape[-1]
        check_option("scales", self.scales, lambda n: channels % n == 0, f"a divisor of the {channels} channels of a map")
        first, *others = jnp.split(x, self.scales, axis=-1)
        found = [first]
        for k, part in enumerate(others, 2):
            y = conv2d(part.shape[-1], 3, name=f"conv{k}")(part + found[-1])
            found.append(nn.relu(batch_norm(train, axis_name=self.axis_name, name=f"bn{k}")(y)))
        return conv2d(channels, 1, name="conv")(jnp.concatenate(found, axis=-1))


class DualAttention(nn.Module):
    """A gate of channels, then one of positions.

    `x <- x sigmoid(MLP(mean x) + MLP(max x))` over positions, with one hidden layer; then
    `x <- x sigmoid(conv7x7([mean x, max x]))` over channels.

    Attributes:
      reduction: of C channels `C // reduction` are hidden, one at least.

    Reference: Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv 1807.06521.
    """

    reduction: int = 16

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` to the same shape."""
        hidden = nn.Dense(max(x.shape[-1] // self.reduction, 1), use_bias=False, name="hidden")
        out = nn.Dense(x.shape[-1], use_bias=False, name="out")
        rows = x.reshape(x.shape[0], -1, x.shape[-1])
        rows *= nn.sigmoid(sum(out(nn.relu(hidden(of(rows, 1)))) for of in (_mean, _largest)))
        seen = jnp.concatenate([_mean(rows, 2), _largest(rows, 2)], axis=-1)
        return rows.reshape(x.shape) * nn.sigmoid(conv2d(1, 7, name="conv")(seen.reshape(*x.shape[:-1], 2)))


def _mean(x: jax.Array, axis: int) -> jax.Array:
    return jnp.mean(x, axis, keepdims=True)


def _largest(x: jax.Array, axis: int) -> jax.Array:
    # By its place: the gradient of a maximum divides by how many are equal to it, by none where XLA rounds `x` twice.
    return jnp.take_along_axis(x, jnp.argmax(x, axis, keepdims=True), axis)


class _Fusion(nn.Module):
    classes: int
    scales: int
    reduction: int
    axis_name: AxisName

    @nn.compact
    def __call__(self, *maps: jax.Array, train: bool) -> dict[str, jax.Array]:
        if len({x.shape for x in maps}) > 1:
            raise InputError(f"maps of unequal shapes {', '.join(str(list(x.shape[1:])) for x in maps)} cannot be fused")
        if self.scales:
            maps = tuple(MultiScale(self.scales, self.axis_name, name=f"scales{k}")(x, train) for k, x in enumerate(maps))
        if self.reduction:
            maps = tuple(DualAttention(self.reduction, name=f"attention{k}")(x) for k, x in enumerate(maps))
        x, width = jnp.concatenate(maps, axis=-1), maps[0].shape[-1]
        x = conv2d(x.shape[-1], 3, groups=x.shape[-1], name="depthwise_conv")(x)
        x = nn.relu(batch_norm(train, axis_name=self.axis_name, name="depthwise_bn")(x))
        x = conv2d(width, 1, name="pointwise_conv")(x)
        x = nn.relu(batch_norm(train, axis_name=self.axis_name, name="pointwise_bn")(x))
        return {f"seen{k}": one for k, one in enumerate(maps)} | {"map": x} | pooled_and_logits(x, self.classes)


def fusion(classes: int, *, scales: int = 0, reduction: int = 0, axis_name: AxisName = None) -> Net:
    """The fusion module of FFL: all maps, a 3x3 convolution of each channel, a 1x1 one to the channels of one map, a classifier.

    Behind both convolutions are batch norm and ReLU, behind these the mean over positions and a linear layer.

    Args:
      classes: number of logits, 1 or more.
      scales: groups of channels in a `MultiScale` of each map before; 0: there is none.
      reduction: of a `DualAttention` of each map before; 0: there is none.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of a tuple of maps `[B, H, W, C]` with the taps `"logits"` `[B, classes]`, `"pooled"` `[B, C]`, `"map"` of the shape
      of one map, and `"seen0"`, ..., the maps as they are fused.

    Raises:
      InputError: for numbers out of range; when it is initialised, for maps of unequal shapes, or of channels that cannot be
        divided.

    Reference: Kim, Hyun, Chung, Kwak, "Feature Fusion for Online Mutual Knowledge Distillation", ICPR 2020, arXiv 1904.09058.

    >>> net = fusion(3)
    >>> maps = (jnp.ones((2, 4, 4, 5)), jnp.ones((2, 4, 4, 5)))
    >>> taps, _ = net.apply(*net.init(jax.random.key(0), maps), maps, train=False)
    >>> taps["map"].shape, taps["logits"].shape
    ((2, 4, 4, 5), (2, 3))
    """
    check_count(classes=classes)
    check_option("scales", scales, lambda n: n >= 0, "a number of groups, or 0")
    check_option("reduction", reduction, lambda n: n >= 0, "a whole number, or 0")
    return from_linen(_Fusion(classes, scales, reduction, axis_name))
