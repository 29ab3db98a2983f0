"""The generator of StyleGAN2: a mapping of latents to styles, and convolutions whose kernels the styles modulate."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.check import InputError, check_count, check_option
from kdjax.core.net import Net
from kdjax.models.conv import convolution
from kdjax.models.dcgan import SMALLEST, usual_widths
from kdjax.models.latents import latents_of, net_of_latents
from kdjax.models.stylegan2_layers import EqualDense, doubled_kernel, leaky, smoothly_doubled
from kdjax.models.transposed_conv import doubling_convolution


class ModulatedConv(nn.Module):
    """A convolution whose kernel is scaled by a style an input channel, and then to length 1 an output channel, row by row.

        w'[b, h, w, i, o] = s[b, i] w[h, w, i, o],  w''[b, ..., o] = w'[b, ..., o] / sqrt(sum of w'[b, ..., o]^2 + 1e-8)

    Attributes:
      features: output channels.
      side: of the kernel, in pixels.
      double: whether both sides of the map are doubled: it is filled up with zeros and filtered.
      demodulate: whether lengths are made 1; if not, styles are scaled by 1 / sqrt(in).
      dtype: of the convolution.
    """

    features: int
    side: int = 3
    double: bool = False
    demodulate: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        """The map `[B, H, W, C]` and the latent style `[B, D]` to `[B, H', W', features]`."""
        inputs = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.normal(1.0), (self.side, self.side, inputs, self.features))
        s = EqualDense(inputs, bias=1.0, name="style")(style)
        s = s if self.demodulate else s / inputs**0.5
        # Scaling the channels of the maps is scaling those of the kernel, with one convolution for the whole batch.
        x = x.astype(self.dtype) * s[:, None, None].astype(self.dtype)
        if self.double:
            y = doubling_convolution(x, doubled_kernel(kernel).astype(self.dtype))
        else:
            around = [(self.side // 2, self.side // 2)] * 2
            y = convolution(x, kernel.astype(self.dtype), (1, 1), around, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        if not self.demodulate:
            return y
        scale = lax.rsqrt(jnp.square(s) @ jnp.sum(jnp.square(kernel), (0, 1)) + 1e-8)
        return y * scale[:, None, None].astype(self.dtype)


class StyleLayer(nn.Module):
    """A modulated 3x3 convolution, noise times a trained strength (0 at first), a bias, leaky ReLU.

    Attributes:
      features: output channels.
      double: whether both sides of the map are doubled.
      dtype: of the computation.
    """

    features: int
    double: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array, keys: jax.Array | None) -> jax.Array:
        """The map, the style and keys `[B]` of the noise, None for none, to `[B, H', W', features]`."""
        x = ModulatedConv(self.features, double=self.double, dtype=self.dtype, name="conv")(x, style)
        strength = self.param("noise", nn.initializers.zeros, ())
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if keys is not None:
            noise = jax.vmap(lambda key: jax.random.normal(key, (*x.shape[1:3], 1)))(keys)
            x = x + (strength * noise).astype(self.dtype)
        return leaky(x + jnp.broadcast_to(bias.astype(self.dtype), x.shape))


class StyleGAN2(nn.Module):
    """Latents to styles by linear layers; a trained map, per further width a doubling of it, and a sum of images at all sizes.

    Attributes:
      height: of the images, in pixels.
      width: of the images, in pixels.
      channels: of the images.
      widths: channels of the maps, each twice as large as the one before; the last one as large as the image.
      style: length of a style.
      depth: linear layers from latents to styles.
      dtype: of the convolutions; the images and the styles are float32.
    """

    height: int
    width: int
    channels: int
    widths: tuple[int, ...]
    style: int = 512
    depth: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Any, train: bool) -> dict[str, jax.Array]:
        """What `stylegan2` takes to the taps."""
        del train
        given = x if isinstance(x, Mapping) else {}
        w = given["style"] if "style" in given else self._mapped(latents_of(x))
        styles = w if w.ndim == 3 else jnp.broadcast_to(w[:, None], (w.shape[0], self.layers, w.shape[-1]))
        if styles.shape[1] != self.layers:
            raise InputError(f"'style' of {styles.shape[1]} layers is not accepted: this generator has {self.layers}")
        factor = 2 ** (len(self.widths) - 1)
        start = (-(-self.height // factor), -(-self.width // factor), self.widths[0])
        constant = self.param("constant", nn.initializers.normal(1.0), start)
        y = jnp.broadcast_to(constant.astype(self.dtype), (w.shape[0], *start))
        taps: dict[str, jax.Array] = {"style": w}
        image, layer = jnp.zeros(()), 0
        for stage, features in enumerate(self.widths):
            for number in (1, 2) if stage else (2,):
                keys = jax.vmap(lambda key, n=layer: jax.random.fold_in(key, n))(given["noise"]) if "noise" in given else None
                name = f"stage{stage}_layer{number}"
                y = StyleLayer(features, double=number == 1, dtype=self.dtype, name=name)(y, styles[:, layer], keys)
                layer += 1
            to_image = ModulatedConv(self.channels, 1, demodulate=False, dtype=self.dtype, name=f"stage{stage}_image")
            here = to_image(y, styles[:, layer]).astype(jnp.float32)
            here += jnp.broadcast_to(self.param(f"stage{stage}_bias", nn.initializers.zeros, (self.channels,)), here.shape)
            image = here + smoothly_doubled(image) if stage else here
            taps[f"stage{stage}"] = y
        return {**taps, "image": (image[:, : self.height, : self.width] + 1) / 2}

    @property
    def layers(self) -> int:
        """How many styles there are: one for each convolution, and one for the last image."""
        return 2 * len(self.widths)

    def _mapped(self, z: jax.Array) -> jax.Array:
        x = z * lax.rsqrt(jnp.mean(jnp.square(z), -1, keepdims=True) + 1e-8)
        for number in range(1, self.depth + 1):
            x = leaky(EqualDense(self.style, rate=0.01, name=f"linear{number}")(x))
        return x


def stylegan2(
    size: int | tuple[int, int] = 32,
    *,
    channels: int = 3,
    base: int = 32768,
    largest: int = 512,
    style: int = 512,
    depth: int = 8,
    latent: int | None = None,
    dtype: Any = jnp.float32,
) -> Net:
    """The generator of StyleGAN2, with skips to the image at every size ("config F"). Its critic is `stylegan2_critic`.

    Latents, scaled to mean square 1, become styles by `depth` linear layers (their learning rate 0.01 of the others'). A trained
    map of 4 to 7 pixels a side passes a modulated 3x3 convolution, and is then doubled up to the size of the image, by two of them
    each time. Behind each size a modulated 1x1 convolution without demodulation adds to the image so far, doubled. The maps have
    `min(base / r, largest)` channels, r 4, 8, 16, ... from the first on. All layers have an equalised learning rate.

    The published configurations: FFHQ at 1024 pixels the defaults; CIFAR-10 of StyleGAN2-ADA `base=16384, depth=2`, without noise.
    Style mixing, truncation and the average of the weights are left to those who train and draw.

    Args:
      size: side of the images, or (height, width), in pixels; what is too large is cut off at the bottom and at the right.
      channels: of the images.
      base: channels times pixels of a side.
      largest: number of channels.
      style: length of a style, "w" in the paper, and of the hidden layers in front of it.
      depth: linear layers from latents to styles.
      latent: length of a latent (512), for those who make latents for the net; None: `init` reads it off its input.
      dtype: of the convolutions; the images and the styles are float32.

    Returns:
      A Net of latents `[B, latent]`, or of a mapping with them as `"latent"`; with `"noise"`, keys `[B]`, one a row, there is noise
      in every layer, without them none. A label is not looked at. A mapping with `"style"` in the place of `"latent"`, `[B, style]`
      or one a layer `[B, L, style]`, starts behind the mapping, as the path length does; L is `2 + 2 n` for n doublings. Taps:
      `"style"`, `"stage0"`, ... (the maps of all sizes) and `"image"` `[B, height, width, channels]`, in the units of images in
      [0, 1], but not held there.

    Raises:
      InputError: for a side below 8, and for channels, base, largest, style, depth or latent below 1; at latents of another length
        and styles of other layers.

    Reference: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, arXiv 1912.04958; Karras et al.,
    "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, arXiv 2006.06676 (the CIFAR-10 form).

    >>> net = stylegan2(28, channels=1, base=64, largest=8, style=6, depth=2)
    >>> make = lambda key, z: net.apply(*net.init(key, z), z, train=True)[0]["image"]
    >>> jax.eval_shape(make, jax.random.key(0), jnp.zeros((2, 5))).shape
    (2, 28, 28, 1)
    """
    height, width = (size, size) if isinstance(size, int) else size
    check_option("size", size, lambda _: min(height, width) >= SMALLEST, f"a side of at least {SMALLEST}, or (height, width)")
    check_count(channels=channels, base=base, largest=largest, style=style, depth=depth)
    check_option("latent", latent, lambda n: n is None or n >= 1, "a whole number of at least 1, or None")
    widths = style_widths(height, width, base, largest)
    return net_of_latents(StyleGAN2(height, width, channels, widths, style, depth, dtype), latent, None)


def style_widths(height: int, width: int, base: int, largest: int) -> tuple[int, ...]:
    """Channels of the maps of StyleGAN2, from the smallest, of 4 to 7 pixels a side, to that of the image.

    >>> style_widths(1024, 1024, 32768, 512)
    (512, 512, 512, 512, 512, 256, 128, 64, 32)
    """
    return tuple(max(1, min(base // (4 * 2**n), largest)) for n in range(len(usual_widths(height, width, 1)) + 1))
