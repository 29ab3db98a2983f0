import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, k_means, spherical_k_means

RNG = np.random.default_rng(3)
KEY = jax.random.key(1)


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def algorithm(rows, centroids, iterations):
    """Lloyd's, by cosines, in float64."""
    rows = unit(np.float64(rows))
    for _ in range(iterations):
        found = np.argmax(rows @ centroids.T, 1)
        for k in range(len(centroids)):
            if np.any(found == k):
                centroids[k] = unit(rows[found == k].mean(0))
    return centroids, np.argmax(rows @ centroids.T, 1)


@pytest.mark.parametrize("block", [4096, 16])
def test_it_is_the_algorithm(block, monkeypatch):
    """Blocks of 16 do not fill 50 rows."""
    monkeypatch.setattr(k_means, "_BLOCK", block)
    jax.clear_caches()
    rows = RNG.normal(size=(50, 3)).astype(np.float32) * RNG.uniform(0.1, 9, size=(50, 1)).astype(np.float32)
    first, _ = spherical_k_means(KEY, rows, clusters=6, iterations=0)
    drawn = np.argmax(unit(rows) @ np.asarray(first).T, 0)
    np.testing.assert_allclose(first, unit(rows)[drawn], atol=1e-6)
    assert len(set(drawn.tolist())) == 6
    for iterations in (1, 4):
        centroids, found = spherical_k_means(KEY, rows, clusters=6, iterations=iterations)
        expected, labels = algorithm(rows, np.float64(first), iterations)
        np.testing.assert_allclose(centroids, expected, atol=1e-5)
        assert np.array_equal(found, labels) and found.dtype == jnp.int32


def test_it_finds_what_lies_apart():
    centres = np.eye(4)
    rows = (np.repeat(centres, 10, 0) + 0.05 * RNG.normal(size=(40, 4))).astype(np.float32)
    centroids, found = spherical_k_means(jax.random.key(2), rows, clusters=4, iterations=10)
    groups = [set(np.asarray(found)[10 * k : 10 * k + 10].tolist()) for k in range(4)]
    assert all(len(group) == 1 for group in groups)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)


def test_an_empty_cluster_stays_where_it_is():
    rows = np.float32([[1, 0], [2, 0], [0, 1]])  # of two equal rows the first one's cluster has both
    for seed in range(8):
        key = jax.random.key(seed)
        first, _ = spherical_k_means(key, rows, clusters=3, iterations=0)
        centroids, found = spherical_k_means(key, rows, clusters=3, iterations=5)
        np.testing.assert_allclose(centroids, first, atol=1e-6)
        assert len(set(found.tolist())) == 2


def test_rows_that_take_no_part():
    rows = RNG.normal(size=(12, 3)).astype(np.float32)
    where = np.arange(12) % 3 != 1
    spoiled = np.where(where[:, None], rows, np.nan)
    centroids, found = spherical_k_means(KEY, spoiled, clusters=4, where=where)
    assert np.array_equal(np.asarray(found) == -1, ~where)
    first, _ = spherical_k_means(KEY, spoiled, clusters=4, iterations=0, where=where)
    expected, labels = algorithm(rows[where], np.float64(first), 10)
    np.testing.assert_allclose(centroids, expected, atol=1e-5)
    assert np.array_equal(np.asarray(found)[where], labels)


def test_the_key_draws_the_first_centroids():
    rows = RNG.normal(size=(30, 3)).astype(np.float32)
    one, two = (spherical_k_means(jax.random.key(seed), rows, clusters=3, iterations=0)[0] for seed in (0, 1))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clusters": 13}, r"^clusters=13 is not accepted: expected 1 to 12, the number of rows$"),
        ({"clusters": 0}, r"^clusters=0"),
        ({"clusters": 2, "iterations": -1}, r"^iterations=-1"),
    ],
)
def test_bad_numbers_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        spherical_k_means(KEY, np.ones((12, 3), np.float32), **options)
