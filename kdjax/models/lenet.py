"""LeNet-5 and its half, the pair of data-free learning on handwritten digits."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d, fan_in_uniform
from kdjax.models.conv_net import halve
from kdjax.models.heads import check_classes

_SMALLEST = 16  # side of an image of which the last map has one pixel


class LeNet(nn.Module):
    """Two 5x5 convolutions without padding, ReLU and 2x2 max-pool; one over the whole map; two linear layers.

    Attributes:
      widths: channels of the three convolutions, and of the hidden linear layer.
      classes: outputs of the last linear layer; 0 or None for an encoder without logits.
      dtype: of the computation.
    """

    widths: tuple[int, int, int, int]
    classes: int | None = 10
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps."""
        del train
        if min(x.shape[1:3]) < _SMALLEST:
            raise InputError(f"LeNet-5 is given images of {x.shape[1]}x{x.shape[2]}: expected sides of at least {_SMALLEST} pixels")
        *widths, hidden = self.widths
        taps, start = {}, {"bias": True, "init": fan_in_uniform, "dtype": self.dtype}
        for stage, width in enumerate(widths, 1):
            kernel = (x.shape[1], x.shape[2]) if stage == 3 else (5, 5)
            preact = conv2d(width, kernel, padding=0, **start, name=f"stage{stage}_conv")(x)
            x = nn.relu(preact)
            taps |= {f"stage{stage}": x, f"stage{stage}_preact": preact}
            x = halve(x) if stage < 3 else x
        taps["pooled"] = x[:, 0, 0].astype(jnp.float32)
        if self.classes:
            y = nn.relu(nn.Dense(hidden, kernel_init=fan_in_uniform, dtype=self.dtype, name="hidden")(taps["pooled"]))
            taps["logits"] = nn.Dense(self.classes, kernel_init=fan_in_uniform, name="classifier")(y.astype(jnp.float32))
        return taps


def lenet5(classes: int | None = 10, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """LeNet-5 as data-free learning has it: 6, 16 and 120 channels, 84 hidden units, ReLU, max-pool; 61,706 parameters.

    The third convolution covers the whole map, 5x5 for images of 32x32 (MNIST is resized to these), 4x4 for those of 28x28. The net
    has no batch norm: terms of its statistics do without such a teacher.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: taken as all classifiers do; no statistics are kept.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stage1"` to `"stage3"` (after ReLU, before the pool), `"stage1_preact"` to
      `"stage3_preact"` (before ReLU), `"pooled"` `[B, 120]` (the last map, of one pixel) and `"logits"`.

    Raises:
      InputError: for a negative number of classes; at images of less than 16 pixels a side.

    Reference: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE,
    1998; the form of Chen et al., "Data-Free Learning of Student Networks", ICCV 2019, arXiv 1904.01186.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(lenet5(), (1, 32, 32, 1))
    61706
    """
    del axis_name
    check_classes(classes)
    return from_linen(LeNet((6, 16, 120, 84), classes, dtype=dtype))


def lenet5_half(classes: int | None = 10, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """The same with half the channels: 3, 8, 60 and 42; 15,738 parameters. See `lenet5`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(lenet5_half(), (1, 32, 32, 1))
    15738
    """
    del axis_name
    check_classes(classes)
    return from_linen(LeNet((3, 8, 60, 42), classes, dtype=dtype))
