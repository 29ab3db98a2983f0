from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import augment
from kdjax.core import InputError, jit_fast_compile

KEYS = jax.random.split(jax.random.key(0), 6)
# Every pixel has a colour of its own, and its number in the mask.
NUMBERS = np.arange(6 * 64).reshape(6, 8, 8).astype(np.int32) % 251
BATCH = {"image": jnp.asarray(NUMBERS[..., None], jnp.uint8), "mask": jnp.asarray(NUMBERS), "index": jnp.arange(6)}
MOVES = (augment.flip, augment.pad_crop)


def dim(key, image):
    return image * jax.random.uniform(key)


def test_images_are_those_of_on_images():
    found = jit_fast_compile(augment.jointly(MOVES, [dim, dim], masks=["mask"]))(KEYS, BATCH)
    expected = jit_fast_compile(augment.per_image(*MOVES, dim, dim))(KEYS, BATCH)
    np.testing.assert_allclose(found["image"], expected["image"], atol=1e-6)
    np.testing.assert_array_equal(found["index"], BATCH["index"])


def test_masks_follow_their_image_pixel_by_pixel():
    found = jit_fast_compile(augment.jointly(MOVES, masks=["mask"]))(KEYS, BATCH)
    image, mask = np.round(np.asarray(found["image"])[..., 0] * 255), np.asarray(found["mask"])
    outside = mask == -1
    assert 0 < outside.mean() < 0.8
    np.testing.assert_array_equal(image[~outside], mask[~outside])
    assert (image[outside] == 0).all()


def test_all_images_see_one_draw_and_boxes_move_along():
    squares = np.zeros((6, 8, 8, 1), np.float32)
    squares[:, 2:4, 1:6] = 1.0
    batch = {**BATCH, "image": jnp.asarray(squares), "other": 1 - jnp.asarray(squares)}
    batch["boxes"] = jnp.tile(jnp.array([[[1, 2, 6, 4], [-1, -1, -1, -1]]]), (6, 1, 1))
    move = augment.jointly([augment.flip], images=["image", "other"], boxes=["boxes"])
    found = jit_fast_compile(move)(KEYS, batch)
    np.testing.assert_array_equal(found["image"], 1 - found["other"])
    assert len(set(np.asarray(found["boxes"])[:, 0, 0].tolist())) == 2  # some were mirrored, some not
    for image, (box, none) in zip(np.asarray(found["image"])[..., 0], np.asarray(found["boxes"]), strict=True):
        y, x = np.nonzero(image)
        assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert none.tolist() == [-1] * 4


def test_crops_give_another_size():
    move = augment.jointly([partial(augment.random_resized_crop, size=(4, 6))], [augment.colour_jitter], masks=["mask"], fill=255)
    found = jax.eval_shape(move, KEYS, {**BATCH, "mask": BATCH["mask"].astype(jnp.uint8)})
    assert found["image"].shape == (6, 4, 6, 1) and found["mask"].shape == (6, 4, 6) and found["mask"].dtype == jnp.uint8


@pytest.mark.parametrize(
    ("options", "batch", "message"),
    [
        ({"geometric": [dim]}, {}, "geometric transform dim"),
        ({"masks": ["label"]}, {}, "'label' is not in the batch; it has image"),
        ({"masks": ["mask"]}, {"mask": jnp.zeros((6, 4, 8))}, r"'mask' of shape \(6, 4, 8\)"),
        ({"masks": ["mask"]}, {"mask": jnp.zeros((6, 8, 8, 1, 1))}, "'mask' of shape"),
        ({"images": ["image", "mask"]}, {"mask": jnp.zeros((6, 9, 8, 1))}, "'mask' of shape"),
        ({"images": ()}, {}, "images="),
        ({"boxes": ["boxes"]}, {"boxes": jnp.zeros((6, 4))}, r"expected boxes \[B, N, 4\]"),
    ],
)
def test_refusals(options, batch, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(augment.jointly(**{"geometric": MOVES, **options}), KEYS, {**BATCH, **batch})


def test_views_tell_where_their_pixels_come_from():
    pair = augment.byol_views(6)
    found = jax.eval_shape(augment.views(*pair, augment.flip, geometry=True), KEYS, BATCH)
    assert [v.shape for v in found["views"]] == [(6, 6, 6, 1)] * 2 + [(6, 8, 8, 1)]
    assert [g.matrix.shape for g in found["geometry"]] == [(6, 2, 2)] * 3
    assert [g.size for g in found["geometry"]] == [(6, 6), (6, 6), (8, 8)]
