from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from skimage.color import hsv2rgb, rgb2hsv

from kdjax.augment import brightness, colour_jitter, contrast, hue, saturation, solarise, to_grey
from kdjax.core.check import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
IMAGE = PIXELS / np.float32(255)
GREY = IMAGE[..., :1]


def shift_hsv(image, factor, delta):
    h, s, v = np.moveaxis(rgb2hsv(image), -1, 0)
    return hsv2rgb(np.stack([(h + delta) % 1.0, np.clip(s * factor, 0, 1), v], axis=-1))


def test_brightness():
    image = jnp.asarray(IMAGE)
    np.testing.assert_allclose(brightness(image, delta=0.3), np.clip(IMAGE + 0.3, 0, 1), atol=1e-6)
    enhanced = np.asarray(ImageEnhance.Brightness(Image.fromarray(PIXELS)).enhance(1.5)) / 255
    np.testing.assert_allclose(brightness(image, delta=0.5, mode="scale"), enhanced, atol=1.01 / 255)
    with pytest.raises(InputError, match="mode='mul'"):
        brightness(image, delta=0.1, mode="mul")


def test_contrast():
    mean = IMAGE.mean((0, 1), keepdims=True)
    out = contrast(jnp.asarray(IMAGE), factor=1.7)
    np.testing.assert_allclose(out, np.clip(1.7 * (IMAGE - mean) + mean, 0, 1), atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.9])
def test_saturation_equals_scikit_image(factor):
    np.testing.assert_allclose(saturation(jnp.asarray(IMAGE), factor=factor), shift_hsv(IMAGE, factor, 0), atol=3e-6)


@pytest.mark.parametrize("delta", [-0.4, 0.1, 0.5])
def test_hue_equals_scikit_image(delta):
    np.testing.assert_allclose(hue(jnp.asarray(IMAGE), delta=delta), shift_hsv(IMAGE, 1, delta), atol=3e-6)


def test_to_grey():
    out = np.asarray(to_grey(jnp.asarray(IMAGE)))
    assert out.shape == IMAGE.shape
    expected = IMAGE @ np.array([0.2989, 0.5870, 0.1140])
    np.testing.assert_allclose(out, np.repeat(expected[..., None], 3, -1), atol=1e-6)
    # Pillow rounds to bytes, and its first weight is 0.2990.
    np.testing.assert_allclose(out[..., 0], np.asarray(ImageOps.grayscale(Image.fromarray(PIXELS))) / 255, atol=1 / 255)


def test_solarise_equals_pillow():
    expected = np.asarray(ImageOps.solarize(Image.fromarray(PIXELS), threshold=128)) / np.float32(255)
    np.testing.assert_allclose(solarise(jnp.asarray(IMAGE)), expected, atol=1e-6)
    expected = np.asarray(ImageOps.solarize(Image.fromarray(PIXELS), threshold=60)) / np.float32(255)
    np.testing.assert_allclose(solarise(jnp.asarray(IMAGE), threshold=59.5 / 255), expected, atol=1e-6)


def test_one_channel_has_no_colour():
    image = jnp.asarray(GREY)
    for same in (saturation(image, factor=0.0), hue(image, delta=0.3), to_grey(image)):
        np.testing.assert_array_equal(same, GREY)
    out = colour_jitter(jax.random.key(0), image, brightness=0.0, contrast=0.0, p=1.0)
    np.testing.assert_array_equal(out, GREY)
    with pytest.raises(InputError, match="colour needs 3 channels"):
        to_grey(jnp.zeros((2, 2, 4)))


def test_jitter_is_the_four_changes_in_all_orders():
    rows, sizes = 150, (0.4, 0.5, 0.6, 0.3)
    keys = jax.random.split(jax.random.key(4), rows)
    images = np.random.default_rng(1).random((rows, 3, 3, 3), np.float32)
    options = dict(zip(("brightness", "contrast", "saturation", "hue"), sizes, strict=True))
    out = np.asarray(jax.jit(jax.vmap(lambda k, x: colour_jitter(k, x, p=1.0, **options)))(keys, images))
    # The amounts follow from the keys; the order is found by trying all.
    draws = jax.vmap(lambda k: jax.vmap(jax.random.uniform)(jax.random.split(k, 6)[2:]))(keys)
    light, con, sat, turn = ((2 * np.asarray(draws).T - 1) * np.array(sizes)[:, None])[:, :, None, None, None]

    def shift(x, factor, delta):
        h, s, v = np.moveaxis(rgb2hsv(x), -1, 0)
        return hsv2rgb(np.stack([(h + delta[..., 0]) % 1.0, np.clip(s * factor[..., 0], 0, 1), v], axis=-1))

    def apply(kind, x):
        mean = x.mean((1, 2), keepdims=True)
        changed = (
            lambda: x + light,
            lambda: (1 + con) * (x - mean) + mean,
            lambda: shift(x, 1 + sat, 0 * turn),
            lambda: shift(x, 1 + 0 * sat, turn),
        )[kind]()
        return np.clip(changed, 0, 1)

    matches = {}
    for order in permutations(range(4)):
        x = images.astype(np.float64)
        for kind in order:
            x = apply(kind, x)
        matches[order] = np.abs(out - x).max((1, 2, 3)) < 2e-5
    assert np.any(list(matches.values()), axis=0).all()
    # Each order is drawn (6 rows expected), and none explains everything. Saturation and hue commute where neighbours.
    assert all(1 <= m.sum() < rows / 3 for m in matches.values())


def test_jitter_happens_as_often_as_said_with_uniform_amounts():
    rows = 2000
    keys = jax.random.split(jax.random.key(6), rows)
    image = jnp.full((1, 1, 1), 0.5)

    def jitter(key):
        return colour_jitter(key, image, brightness=0.4, contrast=0.0, p=0.8)

    delta = np.asarray(jax.jit(jax.vmap(jitter))(keys)).ravel() - 0.5
    changed = delta[delta != 0]
    assert abs(len(changed) - 1600) < 4 * np.sqrt(rows * 0.8 * 0.2)
    assert -0.4 <= changed.min() < -0.38 and 0.38 < changed.max() <= 0.4
    assert abs(changed.mean()) < 4 * 0.8 / np.sqrt(12 * 1600)


def test_jitter_switched_off_is_identity_and_bad_amounts_are_refused():
    image = jnp.asarray(IMAGE)
    np.testing.assert_array_equal(jax.jit(lambda k: colour_jitter(k, image, p=0.0))(jax.random.key(0)), image)
    still = colour_jitter(jax.random.key(0), image, brightness=0, contrast=0, saturation=0, hue=0, p=1.0)
    np.testing.assert_array_equal(still, image)
    for name, value in (("brightness", -0.1), ("contrast", -1), ("saturation", -1), ("hue", 0.6)):
        with pytest.raises(InputError, match=f"{name}={value}"):
            colour_jitter(jax.random.key(0), image, **{name: value})


def test_jitter_can_scale_brightness():
    image = jnp.zeros((2, 2, 1))
    options = {"brightness": 0.4, "contrast": 0, "p": 1.0}
    np.testing.assert_array_equal(colour_jitter(jax.random.key(0), image, brightness_mode="scale", **options), image)
