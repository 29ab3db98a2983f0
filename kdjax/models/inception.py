"""The Inception v3 in whose features made-up images are held against real ones: FID and KID as published."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core import InputError
from kdjax.core.arrays import AxisName
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d
from kdjax.models.heads import check_classes, pooled_and_logits
from kdjax.models.norm import batch_norm

SIDE = 299  # of the images that it was trained on
Layers = Sequence[tuple[str, int, int | tuple[int, int]]]  # name, channels, kernel

_TALL, _WIDE, _TALLER, _WIDER = (3, 1), (1, 3), (7, 1), (1, 7)


class Convolution(nn.Module):
    """A convolution without bias, batch norm, ReLU.

    Attributes:
      width: output channels.
      kernel: side, or (height, width), in pixels.
      stride: step in both directions.
      padding: zeros on every side; None: so many that stride 1 keeps the size.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: int | None = None
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C] -> [B, H', W', width]`."""
        x = conv2d(self.width, self.kernel, stride=self.stride, padding=self.padding, name="conv")(x)
        return nn.relu(batch_norm(train, epsilon=1e-3, axis_name=self.axis_name, name="bn")(x))


class Mixed(nn.Module):
    """Rows of convolutions side by side, and a pool; what they give lies behind each other.

    Attributes:
      rows: of the convolutions, one after the other in each.
      pool: "mean", "max" or, where the block halves the sides, "halve": a maximum, and rows end with stride 2.
      pooled: channels of the 1x1 convolution behind the pool; 0: none follows.
      split: whether the last two convolutions of a row see the same.
      axis_name: mapped axis of the batch statistics, or None.
    """

    rows: tuple[Layers, ...]
    pool: str
    pooled: int = 0
    split: bool = False
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C] -> [B, H', W', channels of all rows]`."""

        def convolve(y, layer, **options):
            name, width, kernel = layer
            return Convolution(width, kernel, **options, axis_name=self.axis_name, name=name)(y, train)

        halve = {"stride": 2, "padding": 0} if self.pool == "halve" else {}
        found = []
        for row in self.rows:
            y, last = x, 2 if self.split and len(row) > 1 else 1
            for layer in row[:-last]:
                y = convolve(y, layer)
            found += [convolve(y, layer, **halve) for layer in row[-last:]]
        y = _POOLS[self.pool](x)
        return jnp.concatenate([*found, convolve(y, ("branch_pool", self.pooled, 1)) if self.pooled else y], -1)


def _mean(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


_POOLS = {
    "mean": _mean,
    "max": lambda x: nn.max_pool(x, (3, 3), (1, 1), "SAME"),
    "halve": lambda x: nn.max_pool(x, (3, 3), (2, 2)),
}


def _early(pooled: int) -> Mapping[str, Any]:
    rows = (
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
    )
    return {"rows": rows, "pool": "mean", "pooled": pooled}


def _middle(width: int) -> Mapping[str, Any]:
    twice = [(width, 1), (width, _TALLER), (width, _WIDER), (width, _TALLER), (192, _WIDER)]
    rows = (
        [("branch1x1", 192, 1)],
        [("branch7x7_1", width, 1), ("branch7x7_2", width, _WIDER), ("branch7x7_3", 192, _TALLER)],
        [(f"branch7x7dbl_{i}", *layer) for i, layer in enumerate(twice, 1)],
    )
    return {"rows": rows, "pool": "mean", "pooled": 192}


def _late(pool: str) -> Mapping[str, Any]:
    rows = (
        [("branch1x1", 320, 1)],
        [("branch3x3_1", 384, 1), ("branch3x3_2a", 384, _WIDE), ("branch3x3_2b", 384, _TALL)],
        [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), ("branch3x3dbl_3a", 384, _WIDE), ("branch3x3dbl_3b", 384, _TALL)],
    )
    return {"rows": rows, "pool": pool, "pooled": 192, "split": True}


_STEM = {  # channels, kernel, stride, padding
    "conv1a": (32, 3, 2, 0),
    "conv2a": (32, 3, 1, 0),
    "conv2b": (64, 3, 1, 1),
    "conv3b": (80, 1, 1, 0),
    "conv4a": (192, 3, 1, 0),
}
_STAGES: tuple[Mapping[str, Mapping[str, Any]], ...] = (
    {"mixed5b": _early(32), "mixed5c": _early(64), "mixed5d": _early(64)},
    {
        "mixed6a": {
            "rows": (
                [("branch3x3", 384, 3)],
                [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
            ),
            "pool": "halve",
        },
        "mixed6b": _middle(128),
        "mixed6c": _middle(160),
        "mixed6d": _middle(160),
        "mixed6e": _middle(192),
    },
    {
        "mixed7a": {
            "rows": (
                [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)],
                [
                    ("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, _WIDER), ("branch7x7x3_3", 192, _TALLER),
                    ("branch7x7x3_4", 192, 3),
                ],
            ),
            "pool": "halve",
        },
        "mixed7b": _late("mean"),
        "mixed7c": _late("max"),
    },
)  # fmt: skip


class Inception(nn.Module):
    """Five convolutions, three stages of blocks with rows side by side, mean, linear layer.

    Attributes:
      classes: outputs of the linear layer; 0 or None for an encoder without logits.
      side: of the images as the first convolution sees them.
      axis_name: mapped axis of the batch statistics, or None.
    """

    classes: int | None = 1008
    side: int = SIDE
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, 1 or 3]` in [0, 1] to the taps."""
        if x.shape[-1] not in (1, 3):
            raise InputError(
                f"images of {x.shape[-1]} channels are not accepted: Inception sees grey images, or red, green and blue"
            )
        x = jnp.broadcast_to(x, (*x.shape[:-1], 3))
        x = 2 * jax.image.resize(x, (x.shape[0], self.side, self.side, 3), "linear", antialias=False) - 1
        for name, layer in _STEM.items():
            x = Convolution(*layer, axis_name=self.axis_name, name=name)(x, train)
            if name in ("conv2b", "conv4a"):
                x = nn.max_pool(x, (3, 3), (2, 2))
        taps = {"stem": x}
        for stage, blocks in enumerate(_STAGES, 1):
            for name, options in blocks.items():
                x = Mixed(**options, axis_name=self.axis_name, name=name)(x, train)
            taps[f"stage{stage}"] = x
        return taps | pooled_and_logits(x, self.classes)


def inception(classes: int | None = 1008, *, side: int = SIDE, axis_name: AxisName = None) -> Net:
    """Inception v3 as FID and KID are published with it; 23,850,960 parameters with the defaults.

    It is the net of TensorFlow's file of December 2015, which differs from the later ones: where a block takes means of 3x3
    positions, zeros outside of the map do not count; the last block takes maxima instead; there are 1008 classes. Images of any
    side, grey ones too, are brought to 299x299 pixels bilinearly, without smoothing before, and to [-1, 1]: the net has no other
    normalisation. `"pooled"` are the features that distances are measured in ("pool3").

    Weights come from a file that the user gives: `from_pytorch("inception", ...)` reads those that `pytorch-fid` publishes.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      side: of the images as the first convolution sees them, at least 75.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, 1 or 3]` in [0, 1] with taps `"stem"` (192 channels), `"stage1"` (288), `"stage2"` (768),
      `"stage3"` (2048), `"pooled"` `[B, 2048]`, `"logits"`.

    Raises:
      InputError: for a negative number of classes, a smaller side, or images of other channels.

    Reference:
      Christian Szegedy, Vincent Vanhoucke, Sergey Ioffe, Jonathon Shlens, Zbigniew Wojna, "Rethinking the Inception Architecture
      for Computer Vision", CVPR 2016, arXiv:1512.00567; Martin Heusel and others, "GANs Trained by a Two Time-Scale Update Rule
      Converge to a Local Nash Equilibrium", NeurIPS 2017, arXiv:1706.08500 (FID); Maximilian Seitzer, "pytorch-fid" (the weights).

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(inception(), (1, 32, 32, 3))
    23850960
    """
    check_classes(classes)
    if side < 75:
        raise InputError(f"side={side} is not accepted: expected at least 75, for a pixel in the last stage")
    return from_linen(Inception(classes, side, axis_name))
