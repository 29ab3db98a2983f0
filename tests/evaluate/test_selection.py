import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from kdjax.core import InputError, euclidean_k_means
from kdjax.evaluate import density, nearest, select_apart, usl, uslt

RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0)
GROUPS = np.repeat(np.arange(5), [60, 30, 20, 10, 8])
FEATURES = (4 * np.eye(5, 6)[GROUPS] + RANDOM.normal(size=(128, 6))).astype(np.float32)
UNIT = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
CLUSTERS = RANDOM.integers(0, 7, 128)


def options_of(g):
    return {
        "weight": float(g["hp_reg_w"]),
        "momentum": float(g["hp_reg_momentum"]),
        "horizon": float(g["hp_reg_horizon_dist"]),
        "exponent": float(g["hp_reg_alpha"]),
    }


def test_golden(golden):
    g = golden("usl/selection")
    k, count = int(g["hp_knn_k"]), int(g["hp_num_centroids"])
    near, rows = nearest(g["features"], g["features"], k=k, distance="euclidean")
    np.testing.assert_array_equal(rows, g["knn_indices"])
    np.testing.assert_allclose(jnp.mean(near**2, 1), g["neighbors_dist"], rtol=1e-5)
    scores = density(g["features"], k=k)
    np.testing.assert_allclose(scores, 1 / g["neighbors_dist"], rtol=1e-5)
    start = g["features"][g["init_indices"]]
    centroids, clusters = euclidean_k_means(g["features"], start, iterations=int(g["hp_kmeans_iters"]))
    np.testing.assert_array_equal(clusters, g["cluster_labels"])
    np.testing.assert_allclose(centroids, g["centroids"], atol=1e-6)
    for iterations, name in ((1, "selected_no_reg"), (int(g["hp_reg_iters"]), "selected")):
        found = select_apart(g["features"], scores, clusters, count=count, iterations=iterations, **options_of(g))
        np.testing.assert_array_equal(found, g[name])
    assert not np.array_equal(g["selected"], g["selected_no_reg"])


def test_density_equals_scikit_learn():
    far, _ = NearestNeighbors(n_neighbors=9).fit(FEATURES).kneighbors(FEATURES)
    np.testing.assert_allclose(density(FEATURES, k=9), 1 / (far**2).mean(1), rtol=1e-4)
    np.testing.assert_allclose(density(FEATURES, k=9, chunk=7), density(FEATURES, k=9), rtol=1e-5)
    low = jnp.asarray(FEATURES, jnp.bfloat16)
    np.testing.assert_array_equal(density(low, k=9), density(low.astype(jnp.float32), k=9))
    np.testing.assert_allclose(density(np.ones((4, 2)), k=2), 1e12)  # equal rows


def algorithm(features, scores, clusters, count, weight, iterations, momentum, horizon, exponent):
    """In float64, a row at a time."""
    r = np.zeros(len(features))
    for _ in range(iterations):
        chosen = {c: max(np.flatnonzero(clusters == c), key=lambda i: scores[i] - weight * r[i]) for c in np.unique(clusters)}
        new = np.zeros_like(r)
        for i, x in enumerate(np.float64(features)):
            for c, s in chosen.items():
                apart = np.sum((x - np.float64(features[s])) ** 2)
                new[i] += (1e10 if clusters[i] == c or apart >= horizon else apart) ** -exponent
        r = momentum * r + (1 - momentum) * new
    return [chosen.get(c, -1) for c in range(count)]


@pytest.mark.parametrize(
    "numbers",
    [(0.5, 10, 0.9, 4.0, 0.5), (1.0, 10, 0.9, 1.0, 1.0), (1.5, 2, 0.0, 3.0, 0.5), (0.0, 3, 0.5, 4.0, 0.5), (5.0, 1, 0.5, 4.0, 0.5)],
)
def test_it_is_the_algorithm(numbers):
    names = ("weight", "iterations", "momentum", "horizon", "exponent")
    scores = np.asarray(density(UNIT, k=9))
    wanted = algorithm(UNIT, np.float64(scores), CLUSTERS, 9, *numbers)
    found = select_apart(UNIT, scores, CLUSTERS, count=9, **dict(zip(names, numbers, strict=True)))
    assert found.tolist() == wanted and wanted[-2:] == [-1, -1]  # two clusters without rows


def test_far_from_the_origin():
    """Where squares of 1e7 differ by a hundredth; 64ths are exact there."""
    rows, scores = np.float32(np.round(64 * UNIT) / 64), density(UNIT, k=9)
    near, far = (select_apart(rows + shift, scores, CLUSTERS, count=7) for shift in (0, 2000))
    np.testing.assert_array_equal(near, far)


def test_rows_of_other_clusters_repel():
    rows = np.array([[0.0], [1.0], [1.2], [3.0]])
    scores, clusters = np.array([1.0, 1.1, 1.1, 1.0]), np.array([0, 0, 1, 1])
    assert select_apart(rows, scores, clusters, count=2, weight=0.0).tolist() == [1, 2]
    assert select_apart(rows, scores, clusters, count=2, weight=1.0).tolist() == [0, 3]
    assert select_apart(rows, scores, clusters, count=2, weight=1.0, horizon=0.01).tolist() == [1, 2]


def test_it_finds_every_group_where_chance_does_not():
    """Of five groups of 60 to 8 rows, by five rows."""
    covered = [len(set(GROUPS[usl(jax.random.key(seed), FEATURES, budget=10, k=6)])) for seed in range(8)]
    chance = [len(set(GROUPS[np.random.default_rng(seed).permutation(128)[:10]])) for seed in range(8)]
    assert np.mean(covered) > np.mean(chance) + 0.5
    # Lengths do not count.
    long = FEATURES * RANDOM.uniform(0.1, 10, size=(128, 1)).astype(np.float32)
    np.testing.assert_array_equal(usl(KEY, long, budget=10, k=6), usl(KEY, FEATURES, budget=10, k=6))


def test_all_are_different_and_as_many_as_asked_for():
    for budget in (1, 7, 128):
        found = usl(KEY, FEATURES, budget=budget, k=6)
        assert found.shape == (budget,) and len(set(found.tolist())) == budget
        np.testing.assert_array_equal(found, usl(KEY, FEATURES, budget=budget, k=6))
    assert not np.array_equal(usl(KEY, FEATURES, budget=7, k=6), usl(jax.random.key(1), FEATURES, budget=7, k=6))
    # Two kinds of rows fill two clusters of four.
    twins = np.eye(2)[np.arange(8) % 2]
    found = usl(KEY, twins, budget=4, k=2)
    assert len(set(found.tolist())) == 4
    assert len(set(usl(KEY, np.zeros((5, 3)), budget=3, k=2).tolist())) == 3


def test_uslt_by_hand():
    logits = RANDOM.normal(size=(3, 30, 4)).astype(np.float32) * 2
    p = np.exp(np.float64(logits))
    sure = (p / p.sum(-1, keepdims=True)).max(-1).mean(0)
    wanted = [max(np.flatnonzero(logits[0].argmax(-1) == c), key=lambda i: sure[i]) for c in range(4)]
    assert uslt(logits).tolist() == wanted
    # Nobody in the last cluster: the surest of the others.
    logits[0, :, 3] = -50
    found = uslt(logits)
    p = np.exp(np.float64(logits))
    sure = (p / p.sum(-1, keepdims=True)).max(-1).mean(0)
    sure[found[:3]] = 0
    assert found[3] == sure.argmax() and len(set(found.tolist())) == 4


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: usl(KEY, FEATURES, budget=0), "budget=0 is not accepted: expected 1 to 128, the number of rows"),
        (lambda: usl(KEY, FEATURES, budget=129), "budget=129"),
        (lambda: usl(KEY, FEATURES, budget=5, k=1), "k=1 is not accepted: expected 2 to 128, the number of rows"),
        (lambda: usl(KEY, FEATURES, budget=5, cluster_iterations=-1), "iterations=-1"),
        (lambda: usl(KEY, FEATURES[0], budget=5), r"features of shape \(6,\) are not accepted: expected \[N, D\]"),
        (lambda: usl(KEY, FEATURES * np.nan, budget=5), "features are not accepted: they hold a number that is not finite"),
        (lambda: density(FEATURES, k=129), "k=129"),
        (lambda: select_apart(FEATURES, GROUPS, GROUPS[:9], count=5), r"shapes \(128,\) and \(9,\).*expected \[128\]"),
        (lambda: select_apart(FEATURES, GROUPS, 1.0 * GROUPS, count=5), "type of clusters is float.*integers"),
        (lambda: select_apart(FEATURES, GROUPS, GROUPS, count=5, weight=-1), "weight=-1"),
        (lambda: select_apart(FEATURES, GROUPS, GROUPS, count=5, momentum=1), "momentum=1"),
        (lambda: select_apart(FEATURES, GROUPS, GROUPS, count=5, horizon=0), "horizon=0"),
        (lambda: select_apart(FEATURES, GROUPS, GROUPS, count=5, exponent=0), "exponent=0"),
        (lambda: select_apart(FEATURES, GROUPS, GROUPS, count=5, iterations=0), "iterations=0"),
        (lambda: select_apart(FEATURES, GROUPS, GROUPS, count=0), "count=0"),
        (
            lambda: uslt(np.zeros((2, 3, 4))),
            r"logits of shape \(2, 3, 4\) are not accepted: expected \[H, N, K\] with N at least K",
        ),
        (lambda: uslt(np.full((1, 4, 2), np.nan)), "logits are not accepted: they hold a number that is not finite"),
    ],
)
def test_refusals(call, line):
    with pytest.raises(InputError, match=line) as error:
        call()
    assert "\n" not in str(error.value)
