"""Geometry against the images themselves: a picture whose grey values say where its pixels are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from kdjax import augment
from kdjax.augment.geometry import of_box
from kdjax.core import InputError, jit_fast_compile

H, W = 12, 16
ROWS, COLUMNS = np.mgrid[:H, :W].astype(np.float32) + 0.5
# Of linear values bilinear sampling gives the very place that a pixel comes from; what is 0 lies outside.
PLACES = jnp.asarray(np.stack([COLUMNS / W, ROWS / H, np.ones_like(ROWS)], -1))

SHARP = {"method": "bilinear", "antialias": False}
MOVES = {
    "flip": partial(augment.flip, p=1.0),
    "flip_or_not": augment.flip,
    "flip_upside": partial(augment.flip, p=1.0, upright=False),
    "pad_crop": augment.pad_crop,
    "affine": partial(augment.affine, shift=2.0),
    "centre_crop": lambda key, image, geometry: augment.centre_crop(image, size=(8, 10), geometry=geometry),
    "resize": lambda key, image, geometry: augment.resize(image, size=(24, 8), **SHARP, geometry=geometry),
    "random_resized_crop": partial(augment.random_resized_crop, size=(9, 7), **SHARP, area=(0.3, 1.0)),
    "compose": augment.compose(augment.flip, lambda key, image: image, augment.pad_crop, partial(augment.flip, p=1.0)),
    "random_apply": augment.random_apply(augment.affine, p=0.5),
}


@pytest.mark.parametrize("name", MOVES)
def test_pixels_come_from_where_the_geometry_says(name):
    both = jit_fast_compile(jax.vmap(lambda key: MOVES[name](key, PLACES, geometry=True)))
    images, geometry = both(jax.random.split(jax.random.key(0), 6))
    seen = 0
    for row in range(6):
        image, one = np.asarray(images[row]), jax.tree.map(lambda x, row=row: x[row], geometry)
        assert one.size == image.shape[:2]
        y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
        came = np.einsum("ij,hwj->hwi", one.matrix, np.stack([x, y], -1)) + np.asarray(one.offset)
        # Well inside: bilinear neighbours beyond the border would pull the values to 0, and those beyond a crop's do not count.
        inside = ((came > 0.5) & (came < [W - 0.5, H - 0.5])).all(-1)
        if name == "random_resized_crop":
            inside = np.pad(inside[1:-1, 1:-1], 1)
        assert (inside <= (image[..., 2] > 0.99)).all()
        np.testing.assert_allclose(image[inside][:, :2] * [W, H], came[inside], atol=2e-3)
        seen += inside.sum()
    assert seen > 100


def test_turned_pixels_come_from_where_the_geometry_says():
    y, x = np.mgrid[:H, :H] + 0.5
    keys = jax.random.split(jax.random.key(0), 12)
    square = jnp.asarray(np.stack([x, y], -1), jnp.float32)
    images, geometry = jax.jit(jax.vmap(lambda key: augment.random_turn(key, square, geometry=True)))(keys)
    assert len(np.unique(images[:, 0, 0], axis=0)) == 4 and geometry.size == (H, H)
    came = np.einsum("nij,hwj->nhwi", geometry.matrix, np.asarray(square)) + np.asarray(geometry.offset)[:, None, None]
    np.testing.assert_array_equal(images, came)


def test_a_plain_call_gives_the_same_image_alone():
    for name, move in MOVES.items():
        if name not in ("centre_crop", "resize"):
            key = jax.random.key(3)
            np.testing.assert_array_equal(move(key, PLACES), move(key, PLACES, geometry=True)[0])


def test_masks_take_the_nearest_pixel_as_pillow_does():
    mask = np.random.default_rng(0).integers(0, 5, (H, W)).astype(np.uint8)
    found = augment.move_mask(jnp.asarray(mask), of_box((2, 3, 8, 9), (5, 18)), fill=255)
    expected = Image.fromarray(mask).resize((18, 5), Image.Resampling.NEAREST, box=(3, 2, 12, 10))
    assert found.dtype == jnp.uint8
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_masks_have_any_channels_and_a_filling_that_fits():
    mask = jnp.ones((2, 2, 3), jnp.uint8)
    moved = augment.move_mask(mask, of_box((-1, 0, 2, 2), (2, 2)))
    assert moved.dtype == jnp.int32 and moved[:, 0, 0].tolist() == [-1, 1]
    assert augment.move_mask(mask.astype(bool), of_box((0, 0, 2, 2), (2, 2))).dtype == jnp.int32
    assert augment.move_mask(mask * 0.5, of_box((0, 0, 2, 2), (1, 1)))[0, 0].tolist() == [0.5] * 3


def test_boxes_hold_the_same_pixels_as_before():
    image = np.zeros((H, W, 1), np.float32)
    image[3:7, 5:11] = 1.0
    boxes = jnp.array([[5.0, 3.0, 11.0, 7.0], [-1, -1, -1, -1], [0, 0, 16, 12]])

    def move(key):
        moved, geometry = augment.compose(augment.flip, augment.pad_crop)(key, jnp.asarray(image), geometry=True)
        return moved, augment.move_boxes(boxes, geometry)

    images, found = jax.jit(jax.vmap(move))(jax.random.split(jax.random.key(1), 8))
    for one, (held, filling, whole) in zip(np.asarray(images)[..., 0], np.asarray(found), strict=True):
        y, x = np.nonzero(one)
        np.testing.assert_allclose(held, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1e-4)
        assert filling.tolist() == [-1] * 4
        assert whole.min() >= 0 and whole[2] <= W and whole[3] <= H


def test_boxes_outside_are_filled_and_turned_ones_cover_their_corners():
    half = of_box((0, 8, 12, 8), (12, 8))
    assert augment.move_boxes(jnp.array([[0.0, 0.0, 8.0, 4.0]]), half, fill=-2).tolist() == [[-2.0] * 4]
    angle = np.pi / 4
    turn = jnp.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    _, geometry = augment.warp(jnp.zeros((10, 10, 1)), matrix=turn, shift=jnp.zeros(2), geometry=True)
    side = np.sqrt(2)  # a square of side 2 stands on its corner
    found = augment.move_boxes(jnp.array([[4.0, 4.0, 6.0, 6.0]]), geometry)
    np.testing.assert_allclose(found, [[5 - side, 5 - side, 5 + side, 5 + side]], atol=1e-4)


def test_what_cannot_say_where_pixels_come_from_must_keep_them():
    with pytest.raises(InputError, match="changes the size"):
        augment.compose(lambda key, image: image[:2])(jax.random.key(0), PLACES, geometry=True)
    with pytest.raises(InputError, match="sizes"):
        augment.random_apply(partial(augment.random_resized_crop, size=4), p=0.5)(jax.random.key(0), PLACES[:3], geometry=True)


def test_cells_of_a_view_are_found_in_another_one():
    """By the pictures: what the first shows in the middle of a cell, the second shows at that place."""
    views = [
        partial(augment.random_resized_crop, size=(8, 12), **SHARP, area=(0.4, 1.0)),
        augment.compose(MOVES["random_resized_crop"], MOVES["flip"]),
    ]

    @jit_fast_compile
    def both(keys):
        (_, first), (_, second) = (
            jax.vmap(lambda k, view=view: view(k, PLACES, geometry=True))(own) for view, own in zip(views, keys, strict=True)
        )
        return first, second, jax.vmap(lambda a, b: augment.correspondence(a, b, (4, 3)))(first, second)

    first, second, found = both([jax.random.split(jax.random.key(seed), 5) for seed in (0, 1)])
    assert found.shape == (5, 4, 3, 2) and np.any((found < 0) | (found > 1)) and np.any((found > 0) & (found < 1))
    for row, column in np.ndindex(4, 3):
        cell = np.array([(column + 0.5) * 12 / 3, (row + 0.5) * 8 / 4])
        for n in range(5):
            origin = first.matrix[n] @ cell + first.offset[n]
            there = second.matrix[n] @ (found[n, row, column] * np.array([7, 9])) + second.offset[n]
            np.testing.assert_allclose(origin, there, atol=1e-3)


def test_a_view_corresponds_to_itself_and_its_mirror_image_backwards():
    whole = of_box((0, 0, 8, 8), (8, 8))
    _, mirrored = augment.flip(jax.random.key(0), jnp.zeros((8, 8, 1)), p=1.0, geometry=True)
    x, y = np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(2) + 0.5) / 2)
    np.testing.assert_allclose(augment.correspondence(whole, whole, (2, 4)), np.stack([x, y], -1), atol=1e-6)
    np.testing.assert_allclose(augment.correspondence(whole, mirrored, (2, 4)), np.stack([1 - x, y], -1), atol=1e-6)
