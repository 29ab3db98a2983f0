"""A net whose last map is projected to another net's, and classified by that net's linear layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.chain import chain
from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.core.pool import average_pool
from kdjax.models.build import build
from kdjax.models.conv import conv2d, fan_in_uniform
from kdjax.models.heads import check_classes
from kdjax.models.norm import batch_norm


class Projector(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each with batch norm and ReLU; mean; a linear layer that is not trained.

    The kernels start uniform in +-1/sqrt(fan in), as in the authors' code.

    Attributes:
      channels: of the output.
      size: height and width of the map it stands for; a larger input is average-pooled before.
      classes: outputs of the linear layer, which is no parameter but a statistic and starts at 0; 0 or None for none.
      factor: the 3x3 convolution has `channels // factor` channels.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    channels: int
    size: tuple[int, int]
    classes: int | None
    factor: int = 2
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """`[B, H, W, C]` to the taps `"head"`, `"pooled"`, `"logits"`."""
        inside, (height, width) = self.channels // self.factor, self.size
        x = average_pool(x, min(x.shape[1], height), min(x.shape[2], width))
        for number, (features, kernel) in enumerate(((inside, 1), (inside, 3), (self.channels, 1)), 1):
            x = conv2d(features, kernel, init=fan_in_uniform, dtype=self.dtype, name=f"conv{number}")(x)
            x = nn.relu(batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"bn{number}")(x))
        taps = {"head": x, "pooled": jnp.mean(x, (1, 2), dtype=jnp.float32)}
        if not self.classes:
            return taps
        kernel = self.variable("classifier", "kernel", jnp.zeros, (self.channels, self.classes))
        bias = self.variable("classifier", "bias", jnp.zeros, (self.classes,))
        return taps | {"logits": taps["pooled"] @ kernel.value + bias.value[None]}


def projected(
    net: Mapping[str, Any],
    tap: str,
    channels: int,
    size: Sequence[int],
    classes: int | None = 10,
    *,
    factor: int = 2,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """A net with a projector to another net's last map, and that net's linear layer behind it.

    The linear layer is no parameter: it stands in the Net's stats, `stats["then"]["classifier"]`, and is zeros until somebody
    fills it in, as `methods.simkd` does.

    Args:
      net: specification of the net, as `build` takes it; without its own `dtype`, and with `classes` 0, as its logits are not used.
      tap: its map that is projected, such as `"stage3"`.
      channels: C of the other net's map.
      size: its height and width.
      classes: number of logits; 0 or None for none.
      factor: how many times fewer channels the projector has inside; a divisor of `channels`.
      dtype: of the computation; parameters, stats, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images with the taps of `net`, but for `"head"` (the projected map, `[B, H, W, C]`, H and W at most `size`),
      `"pooled"` `[B, C]` and `"logits"`. Params and stats are `{"first": those of net, "then": those of the projector}`.

    Raises:
      InputError: for an option that is not as said.

    Reference: Chen, Mei, Zhang, Wang, Feng, Chen, "Knowledge Distillation with the Reused Teacher Classifier", CVPR 2022,
    arXiv 2203.14001.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(projected({"name": "conv_net", "widths": [4, 8], "classes": 0}, "stage2", 16, (4, 4)), (1, 8, 8, 1))
    1180
    """
    check_classes(classes)
    check_option("factor", factor, lambda f: f >= 1 and channels % f == 0, f"a divisor of channels={channels}")
    check_option("size", size, lambda s: len(s) == 2 and min(s) >= 1, "height and width, each of at least 1")
    first = build({**net, "dtype": jnp.dtype(dtype).name}, axis_name=axis_name)
    then = Projector(channels, (size[0], size[1]), classes, factor=factor, dtype=dtype, axis_name=axis_name)
    return chain(first=first, then=from_linen(then), taps={"then": tap})
