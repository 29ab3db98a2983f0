import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from kdjax.core import InputError, euclidean_k_means, k_means, spherical_k_means

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


@pytest.mark.parametrize("block", [4096, 16])
def test_by_euclidean_distance_it_is_the_algorithm_of_scikit_learn(block, monkeypatch):
    """And far from the origin, where squares of 1e6 differ by 1."""
    monkeypatch.setattr(k_means, "_BLOCK", block)
    jax.clear_caches()
    rows = RNG.normal(size=(50, 3))
    for shift in (0, 1000):
        for iterations in (1, 2, 40):
            model = KMeans(6, init=rows[:6], n_init=1, max_iter=iterations, tol=0, algorithm="lloyd")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it has not converged
                model.fit(rows)
            shifted = np.float32(rows + shift)
            centroids, found = euclidean_k_means(shifted, shifted[:6], iterations=iterations)
            assert np.array_equal(found, model.labels_) and found.dtype == jnp.int32
            np.testing.assert_allclose(centroids - np.float32(shift), model.cluster_centers_, atol=1e-5 if shift == 0 else 2e-4)


def test_by_euclidean_distance_an_empty_cluster_stays_where_it_is():
    rows, start = np.float32([[0, 0.5], [0, 3], [4, 4]]), np.float32([[0, 0], [9, 9], [0, 2], [0, 2]])
    centroids, found = euclidean_k_means(rows, start, iterations=0)
    assert centroids.tolist() == start.tolist() and found.tolist() == [0, 2, 2]  # the first of equal ones
    centroids, found = euclidean_k_means(rows, start)
    np.testing.assert_allclose(centroids, [[0, 0.5], [9, 9], [4, 4], [0, 3]], atol=1e-6)
    assert found.tolist() == [0, 3, 2]


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


@pytest.mark.parametrize(
    ("rows", "centroids", "iterations", "words"),
    [
        (np.ones((5, 3)), np.ones((2, 2)), 3, r"^rows and centroids have shapes \(5, 3\) and \(2, 2\): expected \[N, D\] and"),
        (np.ones(5), np.ones((2, 2)), 3, r"shapes \(5,\)"),
        (np.ones((5, 2)), np.ones((0, 2)), 3, r"\(0, 2\)"),
        (np.ones((5, 2)), np.ones((2, 2)), -1, "^iterations=-1"),
    ],
)
def test_bad_points_are_refused(rows, centroids, iterations, words):
    with pytest.raises(InputError, match=words):
        euclidean_k_means(rows, centroids, iterations=iterations)
