import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.augment import as_float, compose, flip, gaussian_noise, pad_crop, per_image, views
from kdjax.core.check import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 1), np.uint8)
BATCH = {"image": jnp.asarray(PIXELS), "label": jnp.arange(4), "index": jnp.arange(4)}
KEYS = jax.random.split(jax.random.key(0), 4)


def noise(key, image):
    return gaussian_noise(key, image * 0.2 + 0.4, std=0.01)


def test_as_float():
    np.testing.assert_allclose(as_float(BATCH["image"]), PIXELS / np.float32(255), atol=1e-7)
    assert as_float(jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
    with pytest.raises(InputError, match="int32"):
        as_float(jnp.ones(2, jnp.int32))


def test_per_image_applies_the_transforms_in_order_with_keys_of_their_own():
    out = jax.jit(per_image(pad_crop, noise, noise))(KEYS, BATCH)
    assert set(out) == set(BATCH) and out["image"].dtype == jnp.float32
    np.testing.assert_array_equal(out["label"], BATCH["label"])
    for row in range(4):
        image = jnp.asarray(PIXELS[row] / np.float32(255))
        for number, transform in enumerate((pad_crop, noise, noise)):
            image = transform(jax.random.fold_in(KEYS[row], number), image)
        np.testing.assert_allclose(out["image"][row], image, atol=1e-6)
    assert BATCH["image"].dtype == jnp.uint8  # the batch itself is not changed


def test_transforms_in_turn_are_those_of_on_images():
    image = as_float(BATCH["image"][0])
    found = compose(pad_crop, noise)(KEYS[0], image)
    np.testing.assert_array_equal(found, per_image(pad_crop, noise)(KEYS, BATCH)["image"][0])
    np.testing.assert_array_equal(compose()(KEYS[0], image), image)


def test_views_leave_the_image_and_draw_apart():
    white = {"image": jnp.full((4, 6, 6, 1), 0.5)}
    out = jax.jit(views(noise, noise))(KEYS, white)
    np.testing.assert_array_equal(out["image"], white["image"])
    first, second = out["views"]
    assert first.shape == second.shape == (4, 6, 6, 1)
    plain = jax.jit(per_image(noise))(KEYS, white)["image"]
    # Three draws of the same keys, and no two alike: noise that does not correlate.
    for a, b in ((first, second), (first, plain), (second, plain)):
        assert abs(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]) < 4 / np.sqrt(144)


def test_views_may_differ_in_size_and_take_bytes():
    out = jax.jit(views(flip, lambda key, image: image[:3, :3]))(KEYS, BATCH)
    assert [v.shape for v in out["views"]] == [(4, 6, 6, 1), (4, 3, 3, 1)]
    np.testing.assert_allclose(out["views"][1], PIXELS[:, :3, :3] / np.float32(255), atol=1e-7)
