"""The image generator of the data-free methods."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.check import check_option
from kdjax.core.net import Net, from_linen
from kdjax.models.conv import conv2d, fan_in_uniform
from kdjax.models.norm import batch_norm


class Generator(nn.Module):
    """A linear layer, then twice: upsampling, 3x3 convolution, batch norm, leaky ReLU; a last convolution, sigmoid.

    Attributes:
      height: of the images, in pixels.
      width: of the images, in pixels.
      channels: of the images.
      features: channels of the last hidden map; those before have twice as many.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    height: int
    width: int
    channels: int = 3
    features: int = 64
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Latents `[B, nz]` to the tap `"image"` `[B, height, width, channels]` in [0, 1], float32."""
        norm = {"dtype": self.dtype, "axis_name": self.axis_name}
        start = {"init": fan_in_uniform, "dtype": self.dtype}
        height, width, wide = -(-self.height // 4), -(-self.width // 4), 2 * self.features
        x = nn.Dense(height * width * wide, kernel_init=fan_in_uniform, dtype=self.dtype, name="linear")(z)
        x = batch_norm(train, **norm, name="bn0")(x.reshape(z.shape[0], height, width, wide))
        x = conv2d(wide, 3, **start, name="conv1")(double(x))
        x = nn.leaky_relu(batch_norm(train, **norm, name="bn1")(x), 0.2)
        x = conv2d(self.features, 3, **start, name="conv2")(double(x))
        x = nn.leaky_relu(batch_norm(train, **norm, name="bn2")(x), 0.2)
        x = conv2d(self.channels, 3, bias=True, **start, name="conv3")(x)
        return {"image": nn.sigmoid(x[:, : self.height, : self.width].astype(jnp.float32))}


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
    latent: int | None = None,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> Net:
    """The generator of the data-free benchmarks: latents to images in [0, 1].

    A linear layer gives a map of a quarter of the size, rounded up, with `2 features` channels, then batch norm; two
    blocks of nearest upsampling by two, 3x3 convolution without bias, batch norm and leaky ReLU (slope 0.2), the second
    with `features` channels; a 3x3 convolution with bias; sigmoid. Where a side is no multiple of 4, the surplus rows
    at the bottom and columns at the right are cut off. The mean and deviation of a data set belong to the net that sees
    the images.

    Args:
      size: side of the images, or (height, width), in pixels.
      channels: of the images.
      features: "ngf" in the literature.
      latent: "nz", the length of a latent, for those who make latents for the net; None: `init` reads it off its input.
      dtype: of the computation; the images are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of latents `[B, latent]` with the tap `"image"` `[B, height, width, channels]`.

    Raises:
      InputError: for a size, channels, features or latent below 1, and at latents of another length.

    Reference: Fang et al., "Contrastive Model Inversion for Data-Free Knowledge Distillation", IJCAI 2021,
    arXiv 2105.08584 (the form its benchmark gives to the generator of DAFL, arXiv 1904.01186).

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
    net = from_linen(Generator(height, width, channels, features, dtype=dtype, axis_name=axis_name))

    def init(key: jax.Array, z: jax.Array) -> tuple[Any, Any]:
        check_option("latent", latent, lambda n: n in (None, z.shape[-1]), f"{z.shape[-1]}, the length of what it is given")
        return net.init(key, z)

    return Net(init, net.apply)
