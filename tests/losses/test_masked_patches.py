import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    halves_equal_whole,
    refused,
    same_gradient,
    same_value,
    value_and_grad,
)

from kdjax import losses

RNG = np.random.default_rng(7)
IMAGES = RNG.uniform(size=(4, 4, 6, 3)).astype(np.float32)
PREDICTION = RNG.normal(size=(4, 6, 12)).astype(np.float32)
MASK = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])


def error(prediction, images, mask, normalise):
    """One patch of 2 by 2 pixels after the other."""
    images, each = np.float64(images), []
    for n, row, column in np.ndindex(len(images), 2, 3):
        if mask[n, 3 * row + column]:
            patch = images[n, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(-1)
            if normalise:
                patch = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
            each.append(((np.float64(prediction[n, 3 * row + column]) - patch) ** 2).mean())
    return np.mean(each)


def test_golden(golden):
    g = golden("solo_learn/mae")
    options = {"patch": int(g["hp_patch_size"]), "normalise": bool(g["hp_norm_pix_loss"])}
    value, gradient = value_and_grad(lambda p: losses.masked_patches(p, g["imgs"], g["mask"], **options))(g["pred"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_pred"])
    # The order of patches and of the pixels in one: raw patches predict themselves.
    same = losses.masked_patches(g["target_patches"], g["imgs"], np.ones_like(g["mask"]), patch=4, normalise=False)
    assert 0 <= same < 1e-12


@pytest.mark.parametrize("normalise", [True, False])
def test_oracle(normalise):
    def loss(p, images):
        return losses.masked_patches(p, images, MASK, patch=2, normalise=normalise)

    value, gradients = value_and_grad(loss, argnums=(0, 1))(PREDICTION, IMAGES)
    same_value(value, error(PREDICTION, IMAGES, MASK, normalise))
    same_gradient(gradients[0], differences(lambda p: error(p, IMAGES, MASK, normalise), PREDICTION))
    assert not gradients[1].any()


def test_images_of_whole_numbers():
    whole = np.round(IMAGES * 255).astype(np.uint8)
    value = losses.masked_patches(PREDICTION, whole, MASK, patch=2)
    same_value(value, error(PREDICTION, whole, MASK, True))


def test_what_is_seen_reaches_neither_value_nor_gradient():
    seen = np.where(MASK[..., None] != 0, PREDICTION, np.float32(np.nan))
    images = IMAGES.copy()
    images[3] = np.nan  # nothing of the last is hidden
    value, gradient = value_and_grad(lambda p: losses.masked_patches(p, images, MASK != 0, patch=2))(seen)
    same_value(value, error(PREDICTION, IMAGES, MASK, True))
    assert jnp.all(jnp.isfinite(gradient))
    value, gradient = value_and_grad(lambda p: losses.masked_patches(p, images, 0 * MASK, patch=2))(seen)
    assert value == 0 and not gradient.any()


def test_flat_and_extreme_patches():
    both = value_and_grad(lambda p, x: losses.masked_patches(p, x, MASK, patch=2))
    flat = np.full_like(IMAGES, 0.3)
    value, gradient = both(PREDICTION, flat)
    assert jnp.all(jnp.isfinite(gradient))
    hidden = MASK != 0
    same_value(value, (np.float64(PREDICTION[hidden]) ** 2).mean(), 1e-4)  # the target is zeros
    value, gradient = both(PREDICTION * 1e4, IMAGES * 1e4)
    same_value(value, error(PREDICTION * np.float32(1e4), IMAGES * np.float32(1e4), MASK, True))
    assert jnp.all(jnp.isfinite(gradient))


def test_two_halves_equal_the_whole():
    """The halves hide 5 and 6 patches."""

    def loss(p, axis_name):
        rows = jnp.round(p[:, 0, -1]).astype(jnp.int32)
        images, mask = jnp.asarray(IMAGES)[rows], jnp.asarray(MASK)[rows]
        return losses.masked_patches(p[..., :-1], images, mask, patch=2, axis_name=axis_name)

    number = np.broadcast_to(np.arange(4, dtype=np.float32).reshape(4, 1, 1), (4, 6, 1))
    halves_equal_whole(loss, np.concatenate([PREDICTION, number], axis=-1))


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda p, x: losses.masked_patches(p, x, MASK, patch=2), PREDICTION, IMAGES)


def test_is_compiled_once_for_all_masks():
    traced = []

    @jax.jit
    def loss(mask):
        traced.append(mask)
        return losses.masked_patches(PREDICTION, IMAGES, mask, patch=2)

    loss(MASK), loss(MASK[::-1])
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ((PREDICTION, IMAGES, MASK), {"patch": 3}, ["patch=3", "divisor", "4 and 6"]),
        ((PREDICTION, IMAGES, MASK), {"patch": 0}, ["patch=0", "1 or more"]),
        ((PREDICTION, IMAGES, MASK), {"patch": 2.0}, ["patch=2.0", "a whole number"]),
        ((PREDICTION, IMAGES, MASK), {"patch": 1}, ["prediction", "(4, 6, 12)", "[B, 24, 3]"]),
        ((PREDICTION, IMAGES[0], MASK), {"patch": 2}, ["images", "(4, 6, 3)", "[B, H, W, C]"]),
        ((PREDICTION, IMAGES[:2], MASK), {"patch": 2}, ["images", "(2, 4, 6, 3)", "same B"]),
        ((PREDICTION, IMAGES, MASK[:, :3]), {"patch": 2}, ["mask", "(4, 3)", "same N"]),
        ((PREDICTION, IMAGES, MASK), {"patch": 2, "normalise": 1}, ["normalise=1", "True or False"]),
        ((np.ones((1, 4, 1)), np.ones((1, 2, 2, 1)), np.ones((1, 4))), {"patch": 1}, ["normalise=True", "no variance"]),
    ],
)
def test_refused_in_one_line(arrays, options, words):
    refused(lambda: losses.masked_patches(*arrays, **options), words)
