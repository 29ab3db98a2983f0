import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from kdjax.augment import flip
from kdjax.core.check import InputError


def test_flip_equals_pillow_and_p_zero_is_identity():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    image = jnp.asarray(pixels / np.float32(255))
    mirrored = np.asarray(ImageOps.mirror(Image.fromarray(pixels))) / np.float32(255)
    np.testing.assert_array_equal(flip(jax.random.key(0), image, p=1.0), mirrored)
    np.testing.assert_array_equal(flip(jax.random.key(0), image, p=0.0), image)


def test_flip_happens_as_often_as_said():
    keys = jax.random.split(jax.random.key(1), 2000)
    image = jnp.array([[[0.0], [1.0]]])
    flipped = jax.jit(jax.vmap(lambda k: flip(k, image, p=0.3)))(keys)[:, 0, 0, 0]
    assert abs(float(flipped.sum()) - 600) < 4 * np.sqrt(2000 * 0.3 * 0.7)


def test_a_bad_probability_is_refused_and_a_traced_one_passes():
    image = jnp.zeros((2, 2, 1))
    with pytest.raises(InputError, match=r"p=1\.5"):
        flip(jax.random.key(0), image, p=1.5)
    assert jax.vmap(lambda p: flip(jax.random.key(0), image, p=p))(jnp.array([0.0, 1.0])).shape == (2, 2, 2, 1)


def test_top_and_bottom_change_places_as_numpy_has_it():
    image = jax.random.uniform(jax.random.key(0), (4, 5, 12))
    np.testing.assert_array_equal(flip(jax.random.key(0), image, p=1.0, upright=False), np.flipud(image))
    np.testing.assert_array_equal(flip(jax.random.key(0), image, p=0.0, upright=False), image)
