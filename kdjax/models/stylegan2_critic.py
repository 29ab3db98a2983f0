"""The critic of StyleGAN2: residual blocks that halve an image down to a logit."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.check import InputError, check_count
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.dcgan import SMALLEST
from kdjax.models.stylegan2 import style_widths
from kdjax.models.stylegan2_layers import EqualConv, EqualDense, leaky

GROUP = 4  # rows whose deviation from each other is a feature


class StyleGAN2Critic(nn.Module):
    """A 1x1 convolution; per size two 3x3 convolutions and a shortcut; the deviation of rows, a convolution, two linear layers.

    Attributes:
      base: channels times pixels of a side.
      largest: number of channels.
      dtype: of the convolutions.
    """

    base: int = 32768
    largest: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps."""
        del train
        height, width = x.shape[1:3]
        if min(height, width) < SMALLEST:
            raise InputError(
                f"a critic of StyleGAN2 is given images of {height}x{width}: expected sides of at least {SMALLEST} pixels"
            )
        first, *widths = reversed(style_widths(height, width, self.base, self.largest))
        x, taps = leaky(EqualConv(first, 1, dtype=self.dtype, name="stem")(2 * x - 1)), {}
        taps["stem"] = x
        for stage, features in enumerate(widths, 1):
            shortcut = EqualConv(features, 1, half=True, bias=False, dtype=self.dtype, name=f"stage{stage}_shortcut")(x)
            y = leaky(EqualConv(x.shape[-1], dtype=self.dtype, name=f"stage{stage}_conv1")(x))
            y = leaky(EqualConv(features, half=True, dtype=self.dtype, name=f"stage{stage}_conv2")(y))
            taps[f"stage{stage}"] = x = (shortcut + y) * math.sqrt(0.5)
        x = x.astype(jnp.float32)
        pooled = x.mean((1, 2))
        x = leaky(EqualConv(x.shape[-1], name="conv")(jnp.concatenate([x, row_deviation(x)], -1)))
        x = leaky(EqualDense(x.shape[-1], name="linear")(x.reshape(x.shape[0], -1)))
        return {**taps, "pooled": pooled, "logit": EqualDense(1, name="classifier")(x)[:, 0]}


def row_deviation(x: jax.Array, group: int = GROUP) -> jax.Array:
    """How much the rows of a group differ, as a further channel: `[B, H, W, C]` to `[B, H, W, 1]`.

    The mean over positions and channels of `sqrt(variance over the group + 1e-8)`. A group is `group` rows behind each other, or as
    many as divide both this and the batch, so that groups stay on a device. (The authors' code takes every B/4th row.)

    Reference: Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR 2018, arXiv
    1710.10196.

    >>> row_deviation(jnp.array([0.0, 2.0, 5.0, 5.0]).reshape(4, 1, 1, 1), 2)[:, 0, 0, 0].round(3).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    rows = math.gcd(x.shape[0], group)
    deviation = jnp.sqrt(jnp.var(x.reshape(-1, rows, *x.shape[1:]), 1) + 1e-8).mean((1, 2, 3))
    return jnp.broadcast_to(jnp.repeat(deviation, rows)[:, None, None, None], (*x.shape[:3], 1))


def stylegan2_critic(*, base: int = 32768, largest: int = 512, dtype: Any = jnp.float32) -> Net:
    """The critic of StyleGAN2: one logit an image, above 0 for a real one.

    A 1x1 convolution, then residual blocks of two 3x3 convolutions, the second of stride 2 behind a filter, down to a map of 4 to 7
    pixels a side, with the channels of `stylegan2`; the deviation of the rows of a group as a further channel, a 3x3 convolution
    and two linear layers. Leaky ReLU throughout, all layers with an equalised learning rate, no batch norm. It sees `2 x - 1`.

    Args:
      base: channels times pixels of a side.
      largest: number of channels.
      dtype: of the convolutions; parameters, `"pooled"` and `"logit"` are float32.

    Returns:
      A Net of images `[B, H, W, C]` in [0, 1] with taps `"stem"`, `"stage1"`, ..., `"pooled"` `[B, C']` (the mean of the last map)
      and `"logit"` `[B]`. Its gradients by images can be differentiated again.

    Raises:
      InputError: for a base or largest below 1; at images of less than 8 pixels a side.

    Reference: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, arXiv 1912.04958.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(stylegan2_critic(), (4, 1024, 1024, 3))
    29012513
    """
    check_count(base=base, largest=largest)
    return from_linen(StyleGAN2Critic(base, largest, dtype))
