"""Against Pillow, on 8-bit images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from kdjax.augment import equalise, invert, posterise, sharpness
from kdjax.core import InputError

RNG = np.random.default_rng(2)
PIXELS = (RNG.normal(size=(24, 20, 3)) * 30 + 100).clip(0, 255).astype(np.uint8)
IMAGE = jnp.asarray(PIXELS, jnp.float32) / 255


def pillow(change):
    return np.asarray(change(Image.fromarray(PIXELS)), np.float32) / 255


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_posterise(bits):
    np.testing.assert_allclose(posterise(IMAGE, bits=bits), pillow(lambda x: ImageOps.posterize(x, bits)), atol=1e-6)


def test_posterise_blends_whole_numbers_of_bits():
    low, high = posterise(IMAGE, bits=3.0), posterise(IMAGE, bits=4.0)
    np.testing.assert_allclose(posterise(IMAGE, bits=3.25), 0.75 * low + 0.25 * high, atol=1e-6)
    slope = jax.grad(lambda b: posterise(IMAGE, bits=b).sum())(3.25)
    np.testing.assert_allclose(slope, (high - low).sum(), rtol=1e-4)


def test_equalise():
    np.testing.assert_allclose(equalise(IMAGE), pillow(ImageOps.equalize), atol=1e-6)
    few = IMAGE[:8, :8]
    np.testing.assert_array_equal(equalise(few), few)
    np.testing.assert_array_equal(equalise(jnp.full((32, 32, 1), 0.3)), jnp.full((32, 32, 1), 0.3))


def test_invert():
    np.testing.assert_allclose(invert(IMAGE), pillow(ImageOps.invert), atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.9])
def test_sharpness(factor):
    # Pillow rounds the smooth copy and the result to whole steps.
    np.testing.assert_allclose(
        sharpness(IMAGE, factor=factor), pillow(lambda x: ImageEnhance.Sharpness(x).enhance(factor)), atol=2 / 255
    )
    np.testing.assert_allclose(sharpness(IMAGE, factor=1.0), IMAGE, atol=1e-6)


def test_refusals():
    with pytest.raises(InputError, match="bits=9"):
        posterise(IMAGE, bits=9)
    for change in (equalise, invert, lambda x: sharpness(x, factor=1.0), lambda x: posterise(x, bits=2)):
        with pytest.raises(InputError, match="image of "):
            change(jnp.zeros((2, 8, 8, 3)))
