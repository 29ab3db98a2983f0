from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.augment import cutmix, mixup, partners
from kdjax.core.check import InputError

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
