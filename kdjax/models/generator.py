"""The image generators of the data-free methods: a linear layer, then upsampling and convolutions."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.net import Net
from kdjax.models.conv import conv2d, fan_in_uniform
from kdjax.models.latents import Latents, check_label, net_of_latents
from kdjax.models.norm import batch_norm

LAST = ("sigmoid", "tanh_norm", "norm")
INITS = {  # of kernels, and of the scales of batch norm
    "fan_in": (fan_in_uniform, nn.initializers.ones),
    "normal": (nn.initializers.normal(0.02), lambda *how: 1 + nn.initializers.normal(0.02)(*how)),
}


class Generator(nn.Module):
    """A linear layer, batch norm; per further width upsampling, 3x3 convolution, batch norm, leaky ReLU; a last convolution.

    Attributes:
      height: of the images, in pixels.
      width: of the images, in pixels.
      channels: of the images.
      widths: channels of the hidden maps, each twice as large as the one before.
      last: what follows the last convolution: "sigmoid", "tanh_norm" (tanh, batch norm without scale and offset) or "norm".
      bias: whether the hidden convolutions have biases.
      epsilon: of the batch norms behind the hidden convolutions.
      start: the initialisers, "fan_in" or "normal".
      mean: of the images of the data, where batch norm is last; None: 0.
      std: of the images of the data, where batch norm is last; None: 1.
      classes: see `Latents`.
      label: see `Latents`.
      embedding: see `Latents`.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    height: int
    width: int
    channels: int = 3
    widths: tuple[int, ...] = (128, 128, 64)
    last: str = "sigmoid"
    bias: bool = False
    epsilon: float = 1e-5
    start: str = "fan_in"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: int | None = None
    label: str = "product"
    embedding: int | None = None
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: Any, train: bool) -> dict[str, jax.Array]:
        """Latents `[B, nz]`, or with a label, to the taps: `"image"` `[B, height, width, channels]` and the hidden maps."""
        kernel, scale = INITS[self.start]
        norm = {"axis_name": self.axis_name, "scale_init": scale}
        start = {"init": kernel, "dtype": self.dtype}
        first, *others = self.widths
        factor = 2 ** len(others)
        height, width = -(-self.height // factor), -(-self.width // factor)
        z, taps = Latents(self.classes, self.label, self.embedding, name="latents")(x)
        x = nn.Dense(height * width * first, kernel_init=kernel, dtype=self.dtype, name="linear")(z)
        x = batch_norm(train, dtype=self.dtype, **norm, name="bn0")(x.reshape(z.shape[0], height, width, first))
        taps["stage0"] = x
        for stage, features in enumerate(others, 1):
            x = conv2d(features, 3, bias=self.bias, **start, name=f"conv{stage}")(double(x))
            x = batch_norm(train, dtype=self.dtype, epsilon=self.epsilon, **norm, name=f"bn{stage}")(x)
            taps[f"stage{stage}"] = x = nn.leaky_relu(x, 0.2)
        x = conv2d(self.channels, 3, bias=True, **start, name=f"conv{len(self.widths)}")(x)
        x = x[:, : self.height, : self.width].astype(jnp.float32)
        if self.last == "sigmoid":
            return {**taps, "image": nn.sigmoid(x)}
        x = nn.tanh(x) if self.last == "tanh_norm" else x
        x = batch_norm(train, affine=self.last == "norm", **norm, name=f"bn{len(self.widths)}")(x)
        mean, std = jnp.asarray(self.mean or 0.0), jnp.asarray(self.std or 1.0)
        return {**taps, "image": x * jnp.broadcast_to(std, x.shape) + jnp.broadcast_to(mean, x.shape)}


def double(x: jax.Array) -> jax.Array:
    """Nearest upsampling by two: `[B, H, W, C] -> [B, 2 H, 2 W, C]`.

    >>> double(jnp.arange(2.0).reshape(1, 1, 2, 1))[0, :, :, 0].tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def generator(
    size: int | tuple[int, int] = 32,
    *,
    channels: int = 3,
    features: int = 64,
    widths: Sequence[int] | None = None,
    last: str = "sigmoid",
    bias: bool = False,
    epsilon: float = 1e-5,
    init: str = "fan_in",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    latent: int | None = None,
    classes: int | None = None,
    label: str = "product",
    embedding: int | None = None,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The generators of the data-free methods: latents, or latents and labels, to images. By default that of the benchmark.

    A linear layer gives a map of a quarter of the size, rounded up, with `2 features` channels, then batch norm; two
    blocks of nearest upsampling by two, 3x3 convolution without bias, batch norm and leaky ReLU (slope 0.2), the second
    with `features` channels; a 3x3 convolution with bias; sigmoid. Where a side is no multiple of 4, the surplus rows
    at the bottom and columns at the right are cut off.

    The tap `"image"` is always in the units of the data's images, those that a net sees before its own normalisation. A sigmoid
    gives images in [0, 1]. Where batch norm is last, they have mean 0 and deviation 1 a channel over the batch (`"tanh_norm"`,
    and `"norm"` at first, whose scale and offset are trained), as the authors' nets take them; `mean` and `std` of the net
    that sees them bring these back to the data's units, `x std + mean`, which that net's normalisation undoes. They are not
    held in [0, 1].

    Published forms, beside the default (Fang et al., 2021: `latent=256`): the larger one of the same code and of CuDFKD,
    `widths=(256, 128, 64), init="normal", latent=512`; DAFL's own, `bias=True, last="tanh_norm", epsilon=0.8, latent=1000`
    (0.8 is the second positional argument of its batch norms); DFAD's, `bias=True, last="tanh_norm", latent=256`; ZSKT's,
    `bias=True, last="norm", latent=100`.

    Args:
      size: side of the images, or (height, width), in pixels.
      channels: of the images.
      features: "ngf" in the literature.
      widths: channels of the hidden maps from the linear layer's on, each twice as large as the one before; None:
        `(2 features, 2 features, features)`.
      last: what follows the last convolution: `"sigmoid"`, `"tanh_norm"` (tanh, batch norm without scale and offset) or `"norm"`
        (batch norm).
      bias: whether the hidden convolutions have biases.
      epsilon: of the batch norms behind the hidden convolutions; that of the others is 1e-5.
      init: `"fan_in"`, kernels uniform in +-1/sqrt(fan in), or `"normal"`, kernels normal with deviation 0.02 and scales of batch
        norm normal around 1 with the same; biases start at 0.
      mean: numbers per channel, or one, of the data's images, where batch norm is last; None: 0.
      std: likewise; None: 1.
      latent: "nz", the length of a latent, for those who make latents for the net; None: `init` reads it off its input.
      classes: how many a conditional generator knows; None: it is not conditional.
      label: how latent and label are joined: `"product"` of the latent and a trained embedding as long, `"sum"` of these, or
        `"concat"`, the label behind the latent.
      embedding: of `"concat"`, length of a trained embedding; None: the label itself as a distribution over classes.
      dtype: of the computation; the images are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of latents `[B, latent]`, or of `{"latent": [B, latent], "label": int [B] or float [B, classes]}`, which an
      unconditional one takes too, without a look at the label. Taps: `"image"` `[B, height, width, channels]`, the hidden maps
      `"stage0"` (behind the first batch norm), `"stage1"`, ... (behind ReLU), and `"class_embedding"` `[B, D]` where there is one.

    Raises:
      InputError: for a size, channels, features, widths, latent, classes or embedding below 1, for another `last`, `init` or
        `label`, for `mean` and `std` of images that a sigmoid makes or of other channels; at latents of another length, and at a
        label that is missing or of other classes.

    Reference: Fang et al., "Contrastive Model Inversion for Data-Free Knowledge Distillation", IJCAI 2021, arXiv 2105.08584 (the
    form its benchmark gives to the generator of DAFL); Chen et al., "Data-Free Learning of Student Networks", ICCV 2019, arXiv
    1904.01186 (DAFL); Fang et al., "Data-Free Adversarial Distillation", 2019, arXiv 1912.11006 (DFAD); Micaelli and Storkey,
    "Zero-shot Knowledge Transfer via Adversarial Belief Matching", NeurIPS 2019, arXiv 1905.09768 (ZSKT); Li et al., "Dynamic
    Data-Free Knowledge Distillation by Easy-to-Hard Learning Strategy", 2023, arXiv 2208.13648 (CuDFKD); Yu et al., "Conditional
    Generative Data-Free Knowledge Distillation", 2023, arXiv 2112.15358 (a label as a product); Do et al., "Momentum Adversarial
    Distillation: Handling Large Distribution Shifts in Data-Free Knowledge Distillation", NeurIPS 2022, arXiv 2209.10359 (a sum).

    >>> net = generator(7, channels=1, features=4)
    >>> make = lambda key, z: net.apply(*net.init(key, z), z, train=True)[0]["image"]
    >>> jax.eval_shape(make, jax.random.key(0), jnp.zeros((2, 5))).shape
    (2, 7, 7, 1)
    """
    height, width = (size, size) if isinstance(size, int) else size
    check_option("size", size, lambda _: min(height, width) >= 1, "a side of at least 1, or (height, width)")
    check_option("channels", channels, lambda n: n >= 1, "a whole number of at least 1")
    check_option("features", features, lambda n: n >= 1, "a whole number of at least 1")
    check_option("latent", latent, lambda n: n is None or n >= 1, "a whole number of at least 1, or None")
    widths = (2 * features, 2 * features, features) if widths is None else tuple(widths)
    check_option("widths", widths, lambda w: w and min(w) >= 1, "one or more numbers of at least 1")
    check_option("last", last, lambda kind: kind in LAST, ", ".join(map(repr, LAST)))
    check_option("epsilon", epsilon, lambda x: x > 0, "a number above 0")
    check_option("init", init, lambda kind: kind in INITS, ", ".join(map(repr, INITS)))
    mean, std = (None if a is None else tuple(a) for a in (mean, std))
    for name, a in {"mean": mean, "std": std}.items():
        given = "None: a sigmoid gives images in [0, 1]" if last == "sigmoid" else f"1 or {channels} numbers, or None"
        check_option(name, a, lambda a: a is None or (last != "sigmoid" and len(a) in (1, channels)), given)
    check_label(classes, label, embedding)
    module = Generator(
        height, width, channels, widths, last, bias, epsilon, init, mean, std,
        classes=classes, label=label, embedding=embedding, dtype=dtype, axis_name=axis_name,
    )  # fmt: skip
    return net_of_latents(module, latent, classes)
