"""The critic of DCGAN: convolutions that halve an image down to a logit."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError, check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d
from kdjax.models.dcgan import SMALLEST, usual_widths
from kdjax.models.generator import INITS
from kdjax.models.norm import batch_norm
from kdjax.models.spectral import SpectralNorm

NORMS = ("batch", "spectral", "none")
_KERNEL, _SCALE = INITS["normal"]


class DCGANCritic(nn.Module):
    """Per width a 4x4 convolution of stride 2, a norm but behind the first, leaky ReLU; a convolution of the last map's size.

    Attributes:
      features: channels of the first map.
      widths: channels of the maps; None: those of `usual_widths`.
      norm: "batch", "spectral" or "none".
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    features: int = 64
    widths: tuple[int, ...] | None = None
    norm: str = "batch"
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps."""

        def convolved(x, features, kernel, name, dtype, **how):
            layer = conv2d(features, kernel, bias=self.norm != "batch", init=_KERNEL, dtype=dtype, name=name, **how)
            return SpectralNorm(layer, name=f"{name}_spectral")(x, train) if self.norm == "spectral" else layer(x)

        height, width = x.shape[1:3]
        widths = usual_widths(height, width, self.features) if self.widths is None else self.widths
        if not widths or min(height, width) < 2 ** len(widths):
            raise InputError(f"a critic of DCGAN is given images of {height}x{width}: expected sides of at least {SMALLEST} pixels")
        taps, x = {}, 2 * x - 1
        for stage, features in enumerate(widths, 1):
            x = convolved(x, features, 4, f"stage{stage}_conv", self.dtype, stride=2, padding=1)
            if self.norm == "batch" and stage > 1:
                norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, scale_init=_SCALE, name=f"stage{stage}_bn")
                x = norm(x)
            taps[f"stage{stage}"] = x = nn.leaky_relu(x, 0.2)
        x = x.astype(jnp.float32)
        logit = convolved(x, 1, x.shape[1:3], "classifier", jnp.float32, padding=0)[:, 0, 0, 0]
        return {**taps, "pooled": x.mean((1, 2)), "logit": logit}


def dcgan_critic(
    features: int = 64,
    *,
    widths: Sequence[int] | None = None,
    norm: str = "batch",
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The critic of DCGAN: one logit an image, above 0 for a real one.

    4x4 convolutions of stride 2 with leaky ReLU (slope 0.2), twice the channels with every one, down to a map of 4 to 7 pixels a
    side; batch norm behind all but the first; a convolution over the whole map gives the logit. No biases. It sees `2 x - 1`.

    Args:
      features: channels of the first map.
      widths: channels of the maps, in the place of `features`; as many as the sides are halved.
      norm: `"batch"`; `"spectral"`, of every convolution, or `"none"`, both with biases, for losses that look at the images of a
        batch one by one (Wasserstein with a gradient penalty, R1).
      dtype: of the computation; parameters, `"pooled"` and `"logit"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` in [0, 1] with taps `"stage1"`, ..., `"pooled"` `[B, C']` (the mean of the last map) and
      `"logit"` `[B]`. Its gradients by images can be differentiated again.

    Raises:
      InputError: for features or widths below 1 and another norm; at images that are too small.

    Reference: Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks", ICLR 2016, arXiv 1511.06434; Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018,
    arXiv 1802.05957 (the norm, on this critic).

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(dcgan_critic(), (1, 64, 64, 3))
    2765568
    """
    check_option("features", features, lambda n: n >= 1, "a whole number of at least 1")
    widths = None if widths is None else tuple(widths)
    check_option("widths", widths, lambda w: w is None or (w and min(w) >= 1), "one or more numbers of at least 1")
    check_option("norm", norm, lambda kind: kind in NORMS, ", ".join(map(repr, NORMS)))
    return from_linen(DCGANCritic(features, widths, norm, dtype=dtype, axis_name=axis_name))
