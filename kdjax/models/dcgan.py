"""The generator of DCGAN: transposed convolutions that double a map up to an image."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.net import Net
from kdjax.models.generator import INITS
from kdjax.models.latents import Latents, check_label, net_of_latents
from kdjax.models.norm import batch_norm
from kdjax.models.transposed_conv import DoublingConv

_KERNEL, _SCALE = INITS["normal"]
SMALLEST = 8  # side of an image, for one doubling of a map of 4 or more


class DCGAN(nn.Module):
    """A linear layer, batch norm, ReLU; per further width a doubling, batch norm, ReLU; a last doubling, tanh.

    Attributes:
      height: of the images, in pixels.
      width: of the images, in pixels.
      channels: of the images.
      widths: channels of the hidden maps, each twice as large as the one before; the image is twice as large as the last.
      classes: see `Latents`.
      label: see `Latents`.
      embedding: see `Latents`.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    height: int
    width: int
    channels: int
    widths: tuple[int, ...]
    classes: int | None = None
    label: str = "product"
    embedding: int | None = None
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: Any, train: bool) -> dict[str, jax.Array]:
        """Latents `[B, nz]`, or with a label, to the taps: `"image"` `[B, height, width, channels]` and the hidden maps."""
        norm = {"dtype": self.dtype, "axis_name": self.axis_name, "scale_init": _SCALE}
        factor = 2 ** len(self.widths)
        height, width = -(-self.height // factor), -(-self.width // factor)
        z, taps = Latents(self.classes, self.label, self.embedding, name="latents")(x)
        for stage, features in enumerate(self.widths):
            if stage == 0:
                linear = nn.Dense(height * width * features, use_bias=False, kernel_init=_KERNEL, dtype=self.dtype, name="linear")
                x = linear(z).reshape(z.shape[0], height, width, features)
            else:
                x = DoublingConv(features, _KERNEL, self.dtype, name=f"conv{stage}")(x)
            taps[f"stage{stage}"] = x = nn.relu(batch_norm(train, **norm, name=f"bn{stage}")(x))
        x = DoublingConv(self.channels, _KERNEL, self.dtype, name=f"conv{len(self.widths)}")(x)
        x = nn.tanh(x[:, : self.height, : self.width].astype(jnp.float32))
        return {**taps, "image": (x + 1) / 2}


def dcgan(
    size: int | tuple[int, int] = 64,
    *,
    channels: int = 3,
    features: int = 64,
    widths: Sequence[int] | None = None,
    latent: int | None = None,
    classes: int | None = None,
    label: str = "product",
    embedding: int | None = None,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The generator of DCGAN: latents to images in [0, 1] by transposed convolutions. Its critic is `dcgan_critic`.

    A linear layer without bias gives a map of 4 to 7 pixels a side, `size / 2^n`; it and every 4x4 transposed convolution of
    stride 2 (no bias) but the last are followed by batch norm and ReLU; the last gives the image, as `(tanh + 1) / 2`. Kernels
    start normal with deviation 0.02, scales of batch norm normal around 1 with the same. Images of 64 pixels have hidden maps of 4,
    8, 16 and 32; of 28 pixels, 7 and 14. Where `2^n` does not divide a side, the surplus at the bottom and the right is cut off.

    Args:
      size: side of the images, or (height, width), in pixels.
      channels: of the images.
      features: channels of the last hidden map, half those of the one before, and so on.
      widths: channels of the hidden maps from the smallest on, in the place of `features`; as many as the sides are doubled.
      latent: length of a latent, for those who make latents for the net; None: `init` reads it off its input.
      classes: how many a conditional generator knows; None: it is not conditional. See `generator`.
      label: `"product"`, `"sum"` or `"concat"`, see `generator`.
      embedding: of `"concat"`, length of a trained embedding, see `generator`.
      dtype: of the computation; the images are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of latents `[B, latent]`, or of `{"latent", "label"}`, with the taps `"image"` `[B, height, width, channels]`,
      `"stage0"`, ... (the hidden maps, after ReLU) and `"class_embedding"` `[B, D]` where there is one.

    Raises:
      InputError: for a side below 8, and for channels, features, widths, latent, classes or embedding below 1, another `label`; at
        latents of another length, and at a label that is missing or of other classes.

    Reference: Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks", ICLR 2016, arXiv 1511.06434; sizes of kernels and widths of the authors' code.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(dcgan(64), (1, 100))
    3576704
    """
    height, width = (size, size) if isinstance(size, int) else size
    check_option("size", size, lambda _: min(height, width) >= SMALLEST, "a side of at least 8, or (height, width)")
    check_option("channels", channels, lambda n: n >= 1, "a whole number of at least 1")
    check_option("features", features, lambda n: n >= 1, "a whole number of at least 1")
    check_option("latent", latent, lambda n: n is None or n >= 1, "a whole number of at least 1, or None")
    widths = tuple(reversed(usual_widths(height, width, features))) if widths is None else tuple(widths)
    check_option("widths", widths, lambda w: w and min(w) >= 1, "one or more numbers of at least 1")
    check_label(classes, label, embedding)
    module = DCGAN(height, width, channels, widths, classes, label, embedding, dtype=dtype, axis_name=axis_name)
    return net_of_latents(module, latent, classes)


def usual_widths(height: int, width: int, features: int) -> list[int]:
    """Channels of the maps of DCGAN's critic, twice as many with every halving down to a side of 4 to 7 pixels.

    >>> usual_widths(64, 64, 64), usual_widths(28, 32, 8)
    ([64, 128, 256, 512], [8, 16])
    """
    return [features * 2**n for n in range((min(height, width) // 4).bit_length() - 1)]
