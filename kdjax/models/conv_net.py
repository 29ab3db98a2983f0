"""A plain convolutional net for small images."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d
from kdjax.models.heads import check_classes, pooled_and_logits
from kdjax.models.norm import batch_norm


class ConvNet(nn.Module):
    """Per width a 3x3 convolution, batch norm, ReLU; 2x2 max-pool between the stages; mean, linear layer.

    Attributes:
      widths: channels of the stages.
      classes: outputs of the linear layer; 0 or None for an encoder without logits.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    widths: tuple[int, ...]
    classes: int | None = 10
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps."""
        taps = {}
        for stage, width in enumerate(self.widths, 1):
            if stage > 1:
                x = halve(x)
            x = conv2d(width, 3, dtype=self.dtype, name=f"stage{stage}_conv")(x)
            taps.setdefault("stem", x)
            preact = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"stage{stage}_bn")(x)
            x = nn.relu(preact)
            taps |= {f"stage{stage}": x, f"stage{stage}_preact": preact}
        return taps | pooled_and_logits(x, self.classes)


def halve(x: jax.Array) -> jax.Array:
    """2x2 max-pool with stride 2: `[B, H, W, C] -> [B, H // 2, W // 2, C]`; a side of 1 stays 1.

    The last row or column of an odd side is left out. Equal maxima share the gradient.

    >>> halve(jnp.ones((2, 7, 1, 3))).shape
    (2, 3, 1, 3)
    """
    for axis in (1, 2):
        if (side := x.shape[axis]) > 1:
            # Maxima of two: the gradient of a window reduction is slow in compiled loops on a CPU, and that of a maximum over
            # an axis divides by how many are equal to it: by none, where XLA computes `x` twice and rounds it differently.
            x = jnp.maximum(*(lax.slice_in_dim(x, first, side // 2 * 2, 2, axis) for first in (0, 1)))
    return x


def conv_net(
    widths: Sequence[int] = (16, 32, 64),
    classes: int | None = 10,
    *,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """A small convolutional net: per width a stage of 3x3 convolution (stride 1), batch norm and ReLU.

    Between two stages a 2x2 max-pool halves both sides, rounding down, and leaves a side of 1 as it is; the map of the
    last stage is not pooled but averaged. So 28x28 images have maps of 28, 14, 7, and 8x8 images maps of 8, 4, 2.

    Args:
      widths: channels of the stages, at least one.
      classes: number of logits; 0 or None for an encoder without logits.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stem"` (the first convolution), `"stage1"`, ... (after ReLU, before the
      pool), `"stage1_preact"`, ... (before ReLU), `"pooled"` `[B, widths[-1]]`, `"logits"`.

    Raises:
      InputError: for no width or one below 1, or a negative number of classes.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(conv_net((4, 8)), (1, 8, 8, 1))
    438
    """
    widths = tuple(widths)
    check_option("widths", widths, lambda w: w and min(w) >= 1, "one or more numbers of at least 1")
    check_classes(classes)
    return from_linen(ConvNet(widths, classes=classes, dtype=dtype, axis_name=axis_name))
