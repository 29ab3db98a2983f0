import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from kdjax.core.check import InputError
from kdjax.evaluate import knn_accuracy, knn_scores, nearest

RANDOM = np.random.default_rng(0)
CENTRES = RANDOM.normal(size=(4, 6))
LABELS = RANDOM.integers(0, 4, 150)
FEATURES = (CENTRES[LABELS] + RANDOM.normal(size=(150, 6))).astype(np.float32)
BANK, KNOWN, QUERIES, ASKED = (jnp.array(x) for x in (FEATURES[:100], LABELS[:100], FEATURES[100:], LABELS[100:]))


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 1.0), (100, 0.5)])
def test_equals_scikit_learn(k, temperature):
    model = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / temperature)
    ).fit(FEATURES[:100], LABELS[:100])
    ours = knn_scores(BANK, KNOWN, QUERIES, classes=4, k=k, temperature=temperature)
    np.testing.assert_allclose(ours, model.predict_proba(FEATURES[100:]), atol=1e-4)
    top1 = knn_accuracy(BANK, KNOWN, QUERIES, ASKED, classes=4, k=k, temperature=temperature)
    np.testing.assert_allclose(top1, model.score(FEATURES[100:], LABELS[100:]), atol=1e-6)


@pytest.mark.parametrize("name", ["knn_dino", "knn_solo_cosine", "knn_solo_euclidean"])
def test_the_authors_code_gives_the_same(golden, name):
    g, distance = golden(f"eval/{name}"), name.rpartition("_")[2]
    bank = g["train_features"], g["train_labels"], g["test_features"]
    options = {"k": int(g["hp_k"]), "temperature": float(g["hp_temperature"]), "classes": 5}
    options["distance"] = "euclidean" if distance == "euclidean" else "cosine"
    votes = knn_scores(*bank, **options)
    np.testing.assert_allclose(votes, g["votes"] / g["votes"].sum(1, keepdims=True), atol=2e-6)
    np.testing.assert_array_equal(votes.argmax(1), g["predictions"])
    np.testing.assert_allclose(100 * knn_accuracy(*bank, g["test_labels"], **options), g["top1"], rtol=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_nearest_rows_are_those_of_scikit_learn(distance):
    model = NearestNeighbors(n_neighbors=7, metric=distance, algorithm="brute").fit(FEATURES[:100])
    far, rows = model.kneighbors(FEATURES[100:])
    ours, found = nearest(BANK, QUERIES, k=7, distance=distance, chunk=16)
    np.testing.assert_array_equal(found, rows)
    np.testing.assert_allclose((1 - ours) if distance == "cosine" else -ours, far, atol=1e-5)


def test_close_rows_far_from_the_origin_keep_their_distances():
    """Where squares of 1e8 differ by 1."""
    rows = 1e4 + jnp.arange(8.0)[:, None] * jnp.ones((1, 4))
    near, found = nearest(rows, rows[3:4] + 0.25, k=3, distance="euclidean")
    np.testing.assert_array_equal(found, [[3, 4, 2]])
    np.testing.assert_allclose(-near, [[0.5, 1.5, 2.5]], rtol=1e-3)


def test_defaults_are_the_protocol():
    protocol = knn_scores(BANK, KNOWN, QUERIES, classes=4, k=20, temperature=0.07)
    np.testing.assert_array_equal(knn_scores(BANK, KNOWN, QUERIES, classes=4), protocol)


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_chunks_change_nothing(chunk):
    whole = knn_scores(BANK, KNOWN, QUERIES, classes=4, chunk=1000)
    np.testing.assert_allclose(knn_scores(BANK, KNOWN, QUERIES, classes=4, chunk=chunk), whole, atol=1e-5)


def test_length_of_a_row_does_not_count_and_small_temperatures_hold():
    scaled = knn_scores(1e3 * BANK, KNOWN, 1e-3 * QUERIES, classes=4)
    np.testing.assert_allclose(scaled, knn_scores(BANK, KNOWN, QUERIES, classes=4), atol=1e-4)
    cold = knn_scores(BANK, KNOWN, QUERIES, classes=4, temperature=1e-3)
    np.testing.assert_allclose(cold.sum(1), 1.0, rtol=1e-5)
    assert jnp.isfinite(knn_scores(0 * BANK, KNOWN, QUERIES, classes=4)).all()


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 101}, {"temperature": 0.0}, {"chunk": 0}, {"classes": 0}, {"distance": "l1"}])
def test_refusals(options):
    (name,) = options
    with pytest.raises(InputError, match=f"{name}={options[name]!r}"):
        knn_scores(BANK, KNOWN, QUERIES, **({"classes": 4} | options))
