"""A critic of images: real or made up."""

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
from kdjax.models.norm import batch_norm


class Critic(nn.Module):
    """Per width a 3x3 convolution of stride 2, batch norm but behind the first, leaky ReLU (slope 0.2); mean, linear layer.

    Attributes:
      widths: channels of the stages.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    widths: tuple[int, ...]
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps."""
        taps = {}
        for stage, width in enumerate(self.widths, 1):
            x = conv2d(width, 3, stride=2, bias=stage == 1, dtype=self.dtype, name=f"stage{stage}_conv")(x)
            if stage > 1:
                x = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"stage{stage}_bn")(x)
            taps[f"stage{stage}"] = x = nn.leaky_relu(x, 0.2)
        pooled = jnp.mean(x, (1, 2), dtype=jnp.float32)
        return {**taps, "pooled": pooled, "logit": nn.Dense(1, name="classifier")(pooled)[:, 0]}


def critic(widths: Sequence[int] = (64, 128), *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """The discriminator of small adversarial methods: one logit an image, above 0 for a real one.

    Args:
      widths: channels of the stages, each of which halves both sides; at least one.
      dtype: of the computation; parameters, `"pooled"` and `"logit"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stage1"`, ..., `"pooled"` `[B, widths[-1]]` and `"logit"` `[B]`.

    Raises:
      InputError: for no width or one below 1.

    Reference: Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks", ICLR 2016, arXiv 1511.06434 (its rules, with 3x3 kernels and a mean in front of the linear layer).

    >>> net = critic((4, 8))
    >>> make = lambda key, x: net.apply(*net.init(key, x), x, train=True)[0]["logit"]
    >>> jax.eval_shape(make, jax.random.key(0), jnp.zeros((2, 9, 8, 1))).shape
    (2,)
    """
    widths = tuple(widths)
    check_option("widths", widths, lambda w: w and min(w) >= 1, "one or more numbers of at least 1")
    return from_linen(Critic(widths, dtype=dtype, axis_name=axis_name))
