import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates
from skimage.filters import gaussian

from kdjax.augment import (
    band_jitter,
    band_views,
    byol_views,
    colour_jitter,
    crop_flip_view,
    grey_views,
    multi_crop,
    random_resized_crop,
    random_turn,
    to_grey,
    views,
)
from kdjax.core import InputError

IMAGE = np.random.default_rng(0).random((20, 20, 3), np.float32)
OFF = {"flip_p": 0.0, "jitter_p": 0.0, "grey_p": 0.0, "blur_p": (0.0, 0.0), "solarise_p": (0.0, 0.0)}
WHOLE = {"area": (1.0, 1.0), "ratio": (1.0, 1.0)}


def test_all_off_is_identity():
    one, _ = byol_views(20, **WHOLE, **OFF)
    np.testing.assert_allclose(jax.jit(one)(jax.random.key(0), jnp.asarray(IMAGE)), IMAGE, atol=1e-6)


def test_order_is_flip_grey_blur_solarise():
    one, _ = byol_views(20, **WHOLE, flip_p=1.0, jitter_p=0.0, grey_p=1.0, sigma=(1.0, 1.0), solarise_p=(1.0, 0.0))
    grey = np.repeat((IMAGE[:, ::-1] @ np.array([0.2989, 0.5870, 0.1140]))[..., None], 3, -1)
    blurred = gaussian(grey, 1.0, mode="constant", truncate=1.0, channel_axis=-1)
    expected = np.where(blurred < 0.5, blurred, 1 - blurred)
    np.testing.assert_allclose(jax.jit(one)(jax.random.key(0), jnp.asarray(IMAGE)), expected, atol=1e-5)


def test_jitter_comes_before_grey():
    image, options = jnp.asarray(IMAGE[:4, :4]), {"brightness": 0.2, "contrast": 0.9, "saturation": 0.9, "hue": 0.5}
    one, _ = byol_views(4, **WHOLE, **{**OFF, "jitter_p": 1.0, "grey_p": 1.0}, **options)
    out = jax.jit(one)(jax.random.key(1), image)
    step_key = jax.random.fold_in(jax.random.key(1), 2)
    expected = jax.jit(lambda k: to_grey(colour_jitter(k, image, p=1.0, **options)))(step_key)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_grey_and_solarisation_happen_as_often_as_said():
    image = IMAGE[:2, :2]
    turned, grey = np.where(image < 0.5, image, 1 - image), np.asarray(to_grey(jnp.asarray(image)))
    keys = jax.random.split(jax.random.key(3), 1000)

    @jax.jit
    def second(grey_p, solarise_p):  # traced probabilities: one program for both cases
        view = byol_views(2, **WHOLE, **{**OFF, "grey_p": grey_p, "solarise_p": (0.0, solarise_p)})[1]
        return jax.vmap(lambda k: view(k, jnp.asarray(image)))(keys)

    for changed, probabilities in ((grey, (0.2, 0.0)), (turned, (0.0, 0.2))):
        out = np.asarray(second(*probabilities))
        is_changed, is_same = (np.abs(out - x).max((1, 2, 3)) < 1e-5 for x in (changed, image))
        assert (is_changed ^ is_same).all()
        assert abs(is_changed.sum() - 200) < 4 * np.sqrt(1000 * 0.2 * 0.8)


def test_the_defaults_are_the_card_s():
    defaults = byol_views.__kwdefaults__
    assert defaults["solarise_p"] == (0.0, 0.2) and defaults["blur_p"] == (1.0, 0.1) and defaults["flip_p"] == 0.5
    assert defaults["sigma"] == (0.1, 2.0) and defaults["area"] == (0.08, 1.0) and defaults["method"] == "bicubic"
    amounts = [defaults[k] for k in ("brightness", "contrast", "saturation", "hue", "jitter_p", "grey_p")]
    assert amounts == [0.4, 0.4, 0.2, 0.1, 0.8, 0.2]


def test_blur_differs_between_the_views():
    image = np.zeros((20, 20, 1), np.float32)
    image[10, 10] = 1.0
    keys = jax.random.split(jax.random.key(3), 300)
    pair = byol_views(20, **WHOLE, method="bilinear", **{**OFF, "blur_p": (1.0, 0.1)}, sigma=(1.0, 1.0))
    out = jax.jit(jax.vmap(lambda k: [view(k, jnp.asarray(image)) for view in pair]))(keys)
    first, second = (int((views[:, 10, 10, 0] < 0.9).sum()) for views in out)
    assert first == 300 and abs(second - 30) < 4 * np.sqrt(300 * 0.1 * 0.9)


def test_grey_views_switch_blur_and_noise_on():
    still = {"rotation": 0.0, "scale": (1.0, 1.0), "shear": 0.0, "shift": 0.0}
    image = IMAGE[:8, :8, :1]
    view, same = grey_views(**still)
    assert view is same
    np.testing.assert_array_equal(jax.jit(view)(jax.random.key(0), jnp.asarray(image)), image)
    blurred = jax.jit(grey_views(**still, blur_p=1.0, sigma=(1.0, 1.0))[0])(jax.random.key(0), jnp.asarray(image))
    np.testing.assert_allclose(blurred, gaussian(image, 1.0, mode="constant", truncate=1.0, channel_axis=-1), atol=1e-5)
    noisy = np.asarray(jax.jit(grey_views(**still, noise=0.01)[0])(jax.random.key(0), jnp.asarray(image)))
    assert 0.005 < np.std(noisy - image) < 0.015


def test_a_weak_view_is_a_crop_and_a_flip():
    options, key = {"size": 5, "area": (0.3, 0.6)}, jax.random.key(4)
    crop = random_resized_crop(jax.random.fold_in(key, 0), jnp.asarray(IMAGE), **options)
    for p, expected in ((0.0, crop), (1.0, crop[:, ::-1])):
        np.testing.assert_allclose(jax.jit(crop_flip_view(**options, flip_p=p))(key, jnp.asarray(IMAGE)), expected, atol=1e-6)


def test_small_views_come_behind_the_large_ones_and_show_less():
    """Where a pixel's value is its place, the spread of a view's values is that of the places it shows."""
    places = jnp.broadcast_to(jnp.arange(20.0)[:, None, None] / 20, (20, 20, 3))
    still = {"flip_p": 0.0, "antialias": False, "method": "bilinear"}
    found = multi_crop((crop_flip_view(8, area=(0.8, 1.0), **still),) * 2, crop_flip_view(4, area=(0.05, 0.1), **still), 3)
    seen = [jax.jit(view)(jax.random.key(k), places) for k, view in enumerate(found)]
    assert [view.shape[:2] for view in seen] == [(8, 8)] * 2 + [(4, 4)] * 3
    spread = [float(view.max() - view.min()) for view in seen]
    assert min(spread[:2]) > 0.7 and max(spread[2:]) < 0.5


def sampled(crop, size, antialias):
    """A crop at another size by other libraries: SciPy's bilinear samples, or Pillow's, whose kernel widens."""
    if antialias:
        channels = [Image.fromarray(crop[..., c]).resize(size[::-1], Image.Resampling.BILINEAR) for c in range(crop.shape[-1])]
        return np.stack([np.asarray(c) for c in channels], -1)
    at = np.meshgrid(*((np.arange(n) + 0.5) * old / n - 0.5 for n, old in zip(size, crop.shape, strict=False)), indexing="ij")
    return np.stack([map_coordinates(crop[..., c], at, order=1, mode="nearest") for c in range(crop.shape[-1])], -1)


@pytest.mark.parametrize("antialias", [False, True])
def test_the_views_of_multi_crop_are_the_parts_of_the_image_that_their_geometry_says(antialias):
    """Cut out by hand, mirrored where x runs backwards, and resized by other libraries."""
    options = {"method": "bilinear", "antialias": antialias}
    large = tuple(crop_flip_view(side, area=(0.2, 1.0), **options) for side in (12, (9, 14)))
    chosen = multi_crop(large, crop_flip_view(6, area=(0.05, 0.14), **options), 3)
    images = np.random.default_rng(2).random((8, 20, 17, 2), np.float32)
    batch = jax.jit(views(*chosen, geometry=True))(jax.random.split(jax.random.key(0), 8), {"image": jnp.asarray(images)})
    assert [view.shape[1:3] for view in batch["views"]] == [(12, 12), (9, 14), *[(6, 6)] * 3]
    boxes, mirrored = set(), 0
    for seen, moved in zip(batch["views"], batch["geometry"], strict=True):
        rows, columns = moved.size
        for image, view, matrix, offset in zip(
            images, np.asarray(seen), np.asarray(moved.matrix), np.asarray(moved.offset), strict=True
        ):
            (left, top), (right, bottom) = (np.rint(matrix @ corner + offset).astype(int) for corner in ((0, 0), (columns, rows)))
            assert matrix[0, 1] == matrix[1, 0] == 0 and bottom > top
            crop = image[top:bottom, min(left, right) : max(left, right)]
            expected = sampled(crop, (rows, columns), antialias)
            np.testing.assert_allclose(view, expected[:, ::-1] if right < left else expected, atol=5e-6)
            boxes.add((left, top, right, bottom))
            mirrored += right < left
    assert len(boxes) > 30 and 10 < mirrored < 30


def test_small_views_need_a_large_one():
    for large, count, word in (((), 1, "large"), ((crop_flip_view(4),), -1, "count")):
        with pytest.raises(InputError, match=rf"^{word}="):
            multi_crop(large, crop_flip_view(2), count)


BANDS = np.random.default_rng(1).random((20, 20, 5), np.float32)
STILL = {**WHOLE, "jitter_p": 0.0, "grey_p": 0.0, "blur_p": 0.0, "flip_p": 0.0, "drop_p": 0.0}


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_band_views_all_off_are_identity(bands):
    view, same = band_views(20, **STILL)
    assert view is same
    image = BANDS[..., :bands]
    np.testing.assert_allclose(jax.jit(view)(jax.random.key(0), jnp.asarray(image)), image, atol=1e-6)


def test_band_views_turn_grey_blur_and_flip_in_this_order():
    on = {"grey_p": 1.0, "blur_p": 1.0, "sigma": (1.0, 1.0), "flip_p": 1.0, "upside_p": 1.0, "turn_p": 1.0}
    key = jax.random.key(0)
    out = jax.jit(band_views(20, **{**STILL, **on})[0])(key, jnp.asarray(BANDS))
    blurred = gaussian(BANDS.mean(-1), 1.0, mode="constant", truncate=1.0)[::-1, ::-1]
    turned = random_turn(jax.random.fold_in(key, 6), jnp.asarray(blurred)[..., None], p=1.0)
    np.testing.assert_allclose(out, np.repeat(np.asarray(turned), 5, -1), atol=1e-5)


def test_band_views_jitter_before_greys_and_drop_at_the_end():
    options, key = {"jitter_p": 1.0, "brightness": 0.9, "contrast": 0.9, "grey_p": 1.0, "drop_p": 1.0}, jax.random.key(2)
    out = jax.jit(band_views(20, **{**STILL, **options})[0])(key, jnp.asarray(BANDS))
    jittered = band_jitter(jax.random.fold_in(key, 1), jnp.asarray(BANDS), brightness=0.9, contrast=0.9, p=1.0)
    grey, gone = np.asarray(jittered).mean(-1), (np.asarray(out) == 0).all((0, 1))
    assert 1 <= gone.sum() <= 2
    np.testing.assert_allclose(np.asarray(out)[..., ~gone], np.repeat(grey[..., None], 5 - gone.sum(), -1), atol=1e-5)


def test_the_defaults_of_band_views_are_the_review_s():
    defaults = band_views.__kwdefaults__
    assert [defaults[k] for k in ("jitter_p", "grey_p", "blur_p", "flip_p", "drop_p")] == [0.8, 0.2, 0.5, 0.5, 0.5]
    assert [defaults[k] for k in ("brightness", "contrast", "drop_most")] == [0.4, 0.4, 0.5]
    assert defaults["area"] == (0.2, 1.0) and defaults["sigma"] == (0.1, 2.0) and not defaults["each_band"]
    assert defaults["upside_p"] == defaults["turn_p"] == 0.0
