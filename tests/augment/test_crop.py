import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from kdjax.augment import centre_crop, crop_box, pad_crop, random_resized_crop, resize, resize_box
from kdjax.core.check import InputError

RNG = np.random.default_rng(0)
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def pillow(image, size, method):
    """Pillow's resize of float channels; size is (height, width)."""
    channels = [Image.fromarray(image[..., c]).resize(size[::-1], FILTERS[method]) for c in range(image.shape[2])]
    return np.clip(np.stack([np.asarray(c) for c in channels], axis=-1), 0, 1)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_pad_crop_cuts_every_window_equally_often(mode):
    image = RNG.random((5, 4, 2), np.float32)
    keys = jax.random.split(jax.random.key(0), 900)
    out = np.asarray(jax.jit(jax.vmap(lambda k: pad_crop(k, image, padding=1, mode=mode)))(keys))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode)
    windows = np.stack([padded[i : i + 5, j : j + 4] for i in range(3) for j in range(3)])
    hits = (out[:, None] == windows).all((2, 3, 4))
    assert (hits.sum(1) == 1).all()
    # Nine windows, 100 each: standard deviation 9.4.
    assert np.abs(hits.sum(0) - 100).max() < 4.5 * 9.4


def test_pad_crop_without_padding_is_identity_and_refuses_bad_options():
    image = jnp.asarray(RNG.random((4, 4, 1), np.float32))
    np.testing.assert_array_equal(pad_crop(jax.random.key(0), image, padding=0), image)
    with pytest.raises(InputError, match="mode='wrap'"):
        pad_crop(jax.random.key(0), image, mode="wrap")
    with pytest.raises(InputError, match="padding=4"):
        pad_crop(jax.random.key(0), image, padding=4, mode="reflect")


def test_centre_crop_is_a_slice():
    image = RNG.random((7, 6, 2), np.float32)
    np.testing.assert_array_equal(centre_crop(jnp.asarray(image), size=(4, 2)), image[1:5, 2:4])
    with pytest.raises(InputError, match="size=8"):
        centre_crop(jnp.asarray(image), size=8)


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_resize_box_equals_pillow_crop_then_resize(method):
    image = RNG.random((16, 13, 3), np.float32)
    resized = jax.jit(lambda box: resize_box(jnp.asarray(image), box, size=(6, 8), method=method))
    # Shrinking, enlarging, both at once, one pixel, the whole image.
    for top, left, tall, wide in [(1, 2, 14, 11), (5, 4, 3, 4), (2, 6, 13, 5), (9, 12, 1, 1), (0, 0, 16, 13)]:
        expected = pillow(image[top : top + tall, left : left + wide], (6, 8), method)
        np.testing.assert_allclose(resized((top, left, tall, wide)), expected, atol=3e-6)


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_resize_equals_pillow(method):
    image = RNG.random((9, 12, 1), np.float32)
    np.testing.assert_allclose(resize(jnp.asarray(image), size=(20, 5), method=method), pillow(image, (20, 5), method), atol=3e-6)
    with pytest.raises(InputError, match="method='nearest'"):
        resize(jnp.asarray(image), size=4, method="nearest")


def test_without_antialias_only_the_nearest_pixels_count():
    image = RNG.random((8, 8, 1), np.float32)
    out = resize(jnp.asarray(image), size=2, method="bilinear", antialias=False)
    # Four rows become one: its middle lies between the second and the third.
    expected = image.reshape(2, 4, 2, 4)[:, 1:3, :, 1:3].mean((1, 3))
    np.testing.assert_allclose(out[..., 0], expected, atol=1e-6)


def test_crop_box_has_the_stated_distribution():
    height, width, rows = 300, 400, 4000
    keys = jax.random.split(jax.random.key(3), rows)
    draw = jax.jit(jax.vmap(lambda k: jnp.stack(crop_box(k, height, width, area=(0.1, 0.5)))))
    top, left, tall, wide = np.asarray(draw(keys)).T
    assert (top >= 0).all() and (left >= 0).all() and (top + tall <= height).all() and (left + wide <= width).all()
    share, ratio = tall * wide / (height * width), wide / tall
    # No box reaches a side here (at most 283 x 283), so only rounding moves area and shape: one part in 95.
    assert 0.0985 < share.min() < 0.105 and 0.49 < share.max() < 0.505
    assert 0.745 < ratio.min() < 0.76 and 1.315 < ratio.max() < 1.345
    sigma = 1 / np.sqrt(12 * rows)
    assert abs((share.mean() - 0.1) / 0.4 - 0.5) < 4 * sigma
    assert abs(np.log(ratio).mean()) < 4 * sigma * np.log(16 / 9)
    assert abs((top / (height - tall)).mean() - 0.5) < 4 * sigma
    assert abs((left / (width - wide)).mean() - 0.5) < 4 * sigma


def test_a_box_that_does_not_fit_is_cut_to_the_image():
    for key in jax.random.split(jax.random.key(0), 3):
        top, left, tall, wide = (int(v) for v in crop_box(key, 10, 40, area=(1.0, 1.0), ratio=(1.0, 1.0)))
        assert (top, tall, wide) == (0, 10, 20) and 0 <= left <= 20
    with pytest.raises(InputError, match=r"area=\(0.0, 1.0\)"):
        crop_box(jax.random.key(0), 4, 4, area=(0.0, 1.0))
    with pytest.raises(InputError, match=r"area=\(0.5, 1.5\) is not accepted: expected a pair .low, high., 0 < low <= high <= 1"):
        crop_box(jax.random.key(0), 4, 4, area=(0.5, 1.5))


def test_random_resized_crop_is_the_box_resized():
    image = jnp.asarray(RNG.random((10, 10, 3), np.float32))
    for key in jax.random.split(jax.random.key(5), 3):
        top, left, tall, wide = (int(v) for v in crop_box(key, 10, 10))
        out = jax.jit(lambda k: random_resized_crop(k, image, size=6))(key)
        crop = np.asarray(image)[top : top + tall, left : left + wide]
        np.testing.assert_allclose(out, pillow(crop, (6, 6), "bicubic"), atol=3e-6)
