from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.augment import cutmix, manifold_mixup, mixup, partners
from kdjax.core import InputError, jit_fast_compile

ROWS, HEIGHT, WIDTH, DRAWS = 5, 8, 16, 400
IMAGES = np.random.default_rng(0).random((ROWS, HEIGHT, WIDTH, 2), np.float32)
LABELS = np.eye(ROWS, dtype=np.float32)
KEYS = jax.random.split(jax.random.key(0), DRAWS)


@partial(jax.jit, static_argnums=0)
def mixed(function, alpha):  # alpha is traced: one program for all
    return jax.vmap(lambda k: function(k, jnp.asarray(IMAGES), jnp.asarray(LABELS), alpha=alpha))(KEYS)


def read_labels(labels):
    """The partner of each row and the share of the row itself, read from mixed one-hot labels of distinct rows."""
    own = labels[np.arange(ROWS), np.arange(ROWS)]
    others = labels * (1 - LABELS)
    other = np.where(others.max(1) > 0, others.argmax(1), np.arange(ROWS))
    shares = own[other != np.arange(ROWS)]
    return other, (shares[0] if len(shares) else 1.0), shares


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_mixup(alpha):
    found = []
    for images, labels in zip(*jax.device_get(mixed(mixup, alpha)), strict=True):
        other, lam, shares = read_labels(labels)
        np.testing.assert_allclose(shares, lam, atol=1e-6)  # one share a batch
        np.testing.assert_allclose(labels, lam * LABELS + (1 - lam) * LABELS[other], atol=1e-6)
        np.testing.assert_allclose(images, lam * IMAGES + (1 - lam) * IMAGES[other], atol=1e-5)
        found.append(lam)
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(np.mean(found) - 0.5) < 4 * np.sqrt(variance / DRAWS)
    # The fourth central moment of a Beta is at most that of a coin, so this bound holds for every alpha.
    assert abs(np.var(found) - variance) < 4 * 0.25 * np.sqrt(variance / DRAWS)


def test_cutmix():
    covered, full = [], 0
    for images, labels in zip(*jax.device_get(mixed(cutmix, 1.0)), strict=True):
        other, _, shares = read_labels(labels)
        moved = other != np.arange(ROWS)
        if not moved.any():
            continue
        mask = (images != IMAGES)[moved].any(0).any(-1)
        tall, wide = mask.any(1).sum(), mask.any(0).sum()
        np.testing.assert_array_equal(mask, mask.any(1)[:, None] & mask.any(0)[None, :])
        assert mask.sum() == tall * wide and np.ptp(np.flatnonzero(mask.any(1))) + 1 == tall if mask.any() else True
        np.testing.assert_allclose(shares, 1 - mask.mean(), atol=1e-6)
        np.testing.assert_array_equal(images, np.where(mask[None, :, :, None], IMAGES[other], IMAGES))
        covered.append(mask.mean())
        if mask.any() and not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()):
            full += 1
            assert wide in (2 * tall, 2 * tall + 1)  # both sides shrink by one factor, and round down
    # Simulated with NumPy: uniform lam, uniform middle, cut at the border.
    rng = np.random.default_rng(1)
    cut = np.sqrt(rng.random(200_000))
    area = 1.0
    for length in (HEIGHT, WIDTH):
        side = (length * cut).astype(int)
        start = rng.integers(0, length, cut.size) - side // 2
        area = area * (np.minimum(start + side, length) - np.maximum(start, 0)) / length
    assert full > 10
    assert abs(np.mean(covered) - area.mean()) < 4 * area.std() / np.sqrt(len(covered))


def test_each_row_may_have_a_share_or_a_box_of_its_own():
    many = 64
    images, labels = np.random.default_rng(1).random((many, HEIGHT, WIDTH, 1), np.float32), np.eye(many, dtype=np.float32)
    for function in (mixup, cutmix):
        mix = jit_fast_compile(partial(function, per_row=True))
        found, mixture = jax.device_get(mix(KEYS[3], jnp.asarray(images), jnp.asarray(labels)))
        order = np.where((mixture * (1 - labels)).max(1) > 0, (mixture * (1 - labels)).argmax(1), np.arange(many))
        share = np.where(order == np.arange(many), 1.0, np.diag(mixture))
        assert len(np.unique(share)) > 20
        if function is mixup:
            wanted = share[:, None, None, None] * images + (1 - share)[:, None, None, None] * images[order]
            np.testing.assert_allclose(found, wanted, atol=1e-6)
            assert abs(share.mean() - 0.5) < 4 * np.sqrt(1 / 12 / many)
        else:
            pasted = found == images[order]
            np.testing.assert_array_equal(np.where(pasted, images[order], images), found)
            moved = order != np.arange(many)
            np.testing.assert_allclose(share[moved], 1 - (found != images).mean((1, 2, 3))[moved], atol=1e-6)


@pytest.mark.parametrize(("function", "per_row"), [(mixup, True), (cutmix, True), (manifold_mixup, False)])
def test_rows_are_mixed_alike_on_one_device_and_on_many(function, per_row):
    images, labels = jnp.asarray(IMAGES[:4]), jnp.asarray(LABELS[:4])
    whole = jit_fast_compile(lambda x, y: function(KEYS[1], x, y, per_row=per_row))(images, labels)
    cut = jax.vmap(lambda x, y: function(KEYS[1], x, y, per_row=per_row, axis_name="data"), axis_name="data")
    parts = jit_fast_compile(cut)(images.reshape(2, 2, *images.shape[1:]), labels.reshape(2, 2, -1))
    for part, one in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(part.reshape(one.shape), one, atol=1e-6)


def test_a_network_is_told_what_to_mix_behind_which_stage():
    both = jax.jit(jax.vmap(lambda k: manifold_mixup(k, jnp.asarray(IMAGES), jnp.asarray(LABELS), deepest=2)))
    inside, labels = jax.device_get(both(KEYS))
    share = inside["share"]  # [draws, rows, stages]
    np.testing.assert_array_equal(inside["image"], np.broadcast_to(IMAGES, inside["image"].shape))
    assert ((share < 1).sum(-1) == 1).all() and (share == share[:, :1]).all()  # one stage and one share a batch
    lam = share.min(-1)[..., None]
    np.testing.assert_allclose(labels, lam * LABELS + (1 - lam) * LABELS[inside["partner"]], atol=1e-6)
    counts = np.bincount(share[:, 0].argmin(-1), minlength=3)
    assert np.abs(counts - DRAWS / 3).max() < 4 * np.sqrt(DRAWS * 2 / 9)
    assert abs(lam[:, 0].mean() - 0.5) < 4 * np.sqrt(1 / 20 / DRAWS)  # alpha is 2
    with pytest.raises(InputError, match="deepest=-1"):
        manifold_mixup(KEYS[0], jnp.asarray(IMAGES), jnp.asarray(LABELS), deepest=-1)


@pytest.mark.parametrize("function", [mixup, cutmix])
def test_alpha_zero_mixes_nothing(function):
    images, labels = function(jax.random.key(0), jnp.asarray(IMAGES), jnp.asarray(LABELS), alpha=0)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_same_key_same_mixture_and_bad_input_is_refused():
    a, b = (mixup(KEYS[0], jnp.asarray(IMAGES), jnp.asarray(LABELS))[0] for _ in range(2))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="alpha=-1"):
        mixup(KEYS[0], jnp.asarray(IMAGES), jnp.asarray(LABELS), alpha=-1)
    with pytest.raises(InputError, match="labels of shape"):
        cutmix(KEYS[0], jnp.asarray(IMAGES), jnp.arange(ROWS))
    with pytest.raises(InputError, match="images uint8"):
        cutmix(KEYS[0], jnp.zeros((ROWS, 4, 4, 1), jnp.uint8), jnp.asarray(LABELS))


def test_partners_are_permutations_of_all_rows():
    orders = np.asarray(jax.jit(jax.vmap(lambda k: partners(k, 3)))(KEYS[:300]))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(3), (300, 1)))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6 and np.abs(counts - 50).max() < 4.5 * 6.5
