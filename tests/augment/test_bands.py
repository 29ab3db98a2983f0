"""Changes of images with any number of bands, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.augment import band_jitter, brightness, contrast, drop_bands, grey_bands, to_grey
from kdjax.core.check import InputError

IMAGE = np.random.default_rng(0).random((5, 6, 7), np.float32)
KEY = jax.random.key(0)


def factors(key, size, shape):
    return np.asarray(jax.random.uniform(key, shape, jnp.float32, 1 - size, 1 + size), np.float64)


@pytest.mark.parametrize("each", [False, True])
def test_jitter_scales_bands_and_their_distance_from_the_mean(each):
    keys = jax.random.split(KEY, 20)
    found = jax.jit(jax.vmap(lambda k: band_jitter(k, jnp.asarray(IMAGE), brightness=0.3, contrast=0.8, p=1.0, each=each)))(keys)
    for key, out in zip(keys, found, strict=True):
        _, key_brightness, key_contrast = jax.random.split(key, 3)
        shape = (7,) if each else (1,)
        lit = np.clip(IMAGE.astype(np.float64) * factors(key_brightness, 0.3, shape), 0, 1)
        mean = lit.mean((0, 1))
        np.testing.assert_allclose(out, np.clip((lit - mean) * factors(key_contrast, 0.8, shape) + mean, 0, 1), atol=2e-6)


def test_jitter_of_three_bands_is_that_of_colours_without_saturation_and_hue():
    image = jnp.asarray(IMAGE[..., :3])
    out = band_jitter(KEY, image, brightness=0.4, contrast=0.0, p=1.0)
    amount = factors(jax.random.split(KEY, 3)[1], 0.4, ()) - 1
    np.testing.assert_allclose(out, brightness(image, delta=float(amount), mode="scale"), atol=1e-6)
    out = band_jitter(KEY, image, brightness=0.0, contrast=0.4, p=1.0)
    amount = factors(jax.random.split(KEY, 3)[2], 0.4, ())
    np.testing.assert_allclose(out, contrast(image, factor=float(amount)), atol=1e-6)


def test_jitter_without_amounts_or_without_luck_changes_nothing():
    image = jnp.asarray(IMAGE[..., :3])
    np.testing.assert_array_equal(band_jitter(KEY, image, brightness=0.0, contrast=0.0, p=1.0), image)
    np.testing.assert_array_equal(jax.jit(lambda k: band_jitter(k, image, p=0.0))(KEY), image)


def test_jitter_happens_as_often_as_said_by_uniform_amounts():
    image = jnp.full((1, 1, 2), 0.5)
    keys = jax.random.split(jax.random.key(1), 2000)
    found = np.asarray(jax.jit(jax.vmap(lambda k: band_jitter(k, image, contrast=0.0, p=0.8)))(keys))[:, 0, 0]
    np.testing.assert_array_equal(found[:, 0], found[:, 1])  # bands share the factor
    changed = found[found[:, 0] != 0.5, 0] / 0.5
    assert abs(len(changed) - 1600) < 4 * np.sqrt(2000 * 0.8 * 0.2)
    assert 0.6 <= changed.min() < 0.62 and 1.38 < changed.max() <= 1.4 and abs(changed.mean() - 1) < 4 * 0.8 / np.sqrt(12 * 1600)


def test_greys_are_the_mean_of_the_bands():
    expected = np.repeat(IMAGE.astype(np.float64).mean(-1, keepdims=True), 7, -1)
    np.testing.assert_allclose(grey_bands(jnp.asarray(IMAGE)), expected, atol=1e-6)
    grey = jnp.asarray(IMAGE[..., :1])
    np.testing.assert_array_equal(grey_bands(grey), grey)
    three = jnp.repeat(grey, 3, -1)  # where bands are equal, weights do not matter
    np.testing.assert_allclose(grey_bands(three), to_grey(three), atol=1e-3)


def test_up_to_a_part_of_the_bands_is_dropped_each_number_and_band_alike():
    rows, image = 3000, jnp.asarray(IMAGE) + 1
    keys = jax.random.split(jax.random.key(2), rows)
    found = np.asarray(jax.jit(jax.vmap(lambda k: drop_bands(k, image, most=0.5, fill=-1.0)))(keys))
    gone = (found == -1).all((1, 2))
    assert ((found == -1).any((1, 2)) == gone).all()  # a band goes as a whole, and no row of pixels by itself
    np.testing.assert_array_equal(found[~gone[:, None, None, :].repeat(5, 1).repeat(6, 2)] >= 1, True)
    counts = np.bincount(gone.sum(1), minlength=8)
    assert counts[0] == 0 and counts[4:].sum() == 0  # 3 of 7
    assert (np.abs(counts[1:4] - rows / 3) < 4 * np.sqrt(rows * 2 / 9)).all()
    assert (np.abs(gone.mean(0) - 2 / 7) < 4 * np.sqrt(2 / 7 * 5 / 7 / rows)).all()


def test_a_band_alone_is_never_dropped():
    for bands, most, left in ((1, 0.5, 1), (2, 0.5, 1), (3, 0.5, 2), (3, 0.3, 3), (10, 0.1, 9), (7, 0.0, 7)):
        assert float(drop_bands(KEY, jnp.ones((2, 2, bands)), most=most).sum()) == 4 * left


@pytest.mark.parametrize(
    ("transform", "line"),
    [
        (lambda k, x: band_jitter(k, x, brightness=-0.1), "brightness=-0.1 is not accepted"),
        (lambda k, x: band_jitter(k, x, contrast=-1), "contrast=-1 is not accepted"),
        (lambda k, x: band_jitter(k, x, p=1.5), "p=1.5 is not accepted"),
        (lambda k, x: drop_bands(k, x, most=1.0), r"most=1.0 is not accepted: expected a part of the bands in \[0, 1\)"),
        (lambda k, x: grey_bands(x[0]), "image of shape"),
    ],
)
def test_what_cannot_be_is_refused(transform, line):
    with pytest.raises(InputError, match=f"^{line}"):
        transform(KEY, jnp.asarray(IMAGE))
