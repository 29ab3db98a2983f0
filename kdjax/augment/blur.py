"""Gaussian blur."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.augment._image import between, check_image, check_positive_range
from kdjax.core.check import check_option


def gaussian_blur(key: jax.Array, image: jax.Array, *, sigma: tuple = (0.1, 2.0), radius: int | None = None) -> jax.Array:
    """Blurs by a Gaussian of random width, cut at `radius`; outside the image all is zero.

    The taps `exp(-d^2 / (2 sigma^2))`, |d| <= radius, are scaled to sum to 1. Rows and columns are blurred one after
    the other, each as a product with a banded matrix: under `vmap`, where each image has its own kernel, it stays one
    batched product.

    Args:
      key: random key.
      image: `[H, W, C]`.
      sigma: least and largest standard deviation in pixels, drawn uniformly.
      radius: taps on each side of the middle; None takes `int((H / 10) / 2)`, a tenth of the height in all. It is 0 for
        images of fewer than 20 rows, and then nothing is blurred.

    Returns:
      `[H, W, C]`.

    Raises:
      InputError: for a bad shape or option.

    Reference:
      Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, arXiv 2002.05709;
      the kernel: Grill et al., Bootstrap Your Own Latent, NeurIPS 2020, arXiv 2006.07733.

    >>> spot = jnp.zeros((3, 3, 1)).at[1, 1].set(1.0)
    >>> gaussian_blur(jax.random.key(0), spot, sigma=(9.0, 9.0), radius=1)[1, :, 0].round(2) * 100
    Array([11., 11., 11.], dtype=float32)
    """
    check_image(image)
    check_positive_range("sigma", sigma)
    height, width, _ = image.shape
    radius = int((height / 10) / 2) if radius is None else radius
    check_option("radius", radius, lambda r: r >= 0, "a whole number, 0 or more")
    if radius == 0:
        return image
    width_of_bell = between(key, *sigma)
    down = jnp.einsum("ij,jwc->iwc", _band(height, radius, width_of_bell), image, precision=lax.Precision.HIGHEST)
    return jnp.einsum("ij,hjc->hic", _band(width, radius, width_of_bell), down, precision=lax.Precision.HIGHEST)


def _band(length: int, radius: int, sigma: jax.Array) -> jax.Array:
    def bell(distance):
        taps = jnp.exp(-jnp.square(distance / sigma) / 2.0)
        return jnp.where(jnp.abs(distance) <= radius, taps, 0.0)

    place = jnp.arange(length, dtype=jnp.float32)
    total = jnp.sum(bell(jnp.arange(-radius, radius + 1, dtype=jnp.float32)))
    return bell(place[:, None] - place[None, :]) / total
