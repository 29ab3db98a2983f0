"""A small fully convolutional net: a prediction for every pixel."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d
from kdjax.models.conv_net import halve
from kdjax.models.norm import batch_norm


class FCN(nn.Module):
    """The stages of `conv_net`, a 1x1 convolution of each to scores, and their sum from the smallest map to the largest.

    Attributes:
      widths: channels of the stages.
      classes: scores a pixel.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    widths: tuple[int, ...]
    classes: int
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps."""
        taps, scores = {}, []
        for stage, width in enumerate(self.widths, 1):
            x = halve(x) if stage > 1 else x
            x = conv2d(width, 3, dtype=self.dtype, name=f"stage{stage}_conv")(x)
            x = nn.relu(batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"stage{stage}_bn")(x))
            taps[f"stage{stage}"] = x
            scores.append(conv2d(self.classes, 1, bias=True, dtype=self.dtype, name=f"stage{stage}_score")(x).astype(jnp.float32))
        logits = scores.pop()
        while scores:
            finer = scores.pop()
            logits = finer + jax.image.resize(logits, finer.shape, "bilinear")
        return {**taps, "pooled": jnp.mean(x, (1, 2), dtype=jnp.float32), "logits": logits}


def fcn(widths: Sequence[int] = (16, 32, 64), classes: int = 10, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """A small net for dense prediction: scores of every stage, those of the smaller maps enlarged (bilinear) and added.

    Args:
      widths: channels of the stages, at least one; between two stages a 2x2 max-pool halves both sides, as in `conv_net`.
      classes: number of logits a pixel, 1 or more.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stage1"`, ..., `"pooled"` `[B, widths[-1]]` and `"logits"` `[B, H, W, classes]`.

    Raises:
      InputError: for no width or one below 1, or no class.

    Reference: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, arXiv 1411.4038
    (its scores and their sum, on a smaller backbone).

    >>> net = fcn((4, 8), 3)
    >>> make = lambda key, x: net.apply(*net.init(key, x), x, train=False)[0]["logits"]
    >>> jax.eval_shape(make, jax.random.key(0), jnp.zeros((2, 9, 8, 1))).shape
    (2, 9, 8, 3)
    """
    widths = tuple(widths)
    check_option("widths", widths, lambda w: w and min(w) >= 1, "one or more numbers of at least 1")
    check_option("classes", classes, lambda n: n >= 1, "1 or more")
    return from_linen(FCN(widths, classes, dtype=dtype, axis_name=axis_name))
