import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import mutual_info_score

from kdjax.core import InputError
from kdjax.evaluate import h_score, leep, log_me, negative_conditional_entropy, transferability

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 40)
FEATURES = (RANDOM.normal(size=(3, 6))[LABELS] + RANDOM.normal(size=(40, 6)) * [5, 3, 2, 1, 0.5, 0.1] + 2).astype(np.float32)
THETA = RANDOM.dirichlet(np.full(5, 0.5), 40)


def test_leep_and_nce_golden(golden):
    g = golden("transferability/leep_nce")
    z = np.exp(np.float64(g["logits"]) - g["logits"].max(1, keepdims=True))
    assert leep(z / z.sum(1, keepdims=True), g["labels"]) == pytest.approx(float(g["leep"]), rel=1e-9)
    decided = g["logits"].argmax(1)
    assert negative_conditional_entropy(decided, g["labels"]) == pytest.approx(float(g["nce"]), rel=1e-9)


def test_h_score_golden(golden):
    g = golden("transferability/hscore_logme")
    assert h_score(g["features"], g["labels"]) == pytest.approx(float(g["h_score"]), rel=1e-9)
    assert h_score(g["features"], g["labels"], regularised=True) == pytest.approx(float(g["regularized_h_score"]), rel=1e-9)


def test_log_me_golden(golden):
    g = golden("transferability/hscore_logme")
    options = {"tolerance": float(g["hp_logme_tolerance"]), "iterations": int(g["hp_logme_max_iters"])}
    assert float(g["hp_logme_epsilon"]) == 1e-5
    assert log_me(g["features"], g["labels"], **options) == pytest.approx(float(g["logme"]), rel=1e-9)
    assert log_me(g["features"], g["labels"]) == log_me(g["features"], g["labels"], **options)
    basis, s, _ = np.linalg.svd(np.float64(g["features"]), full_matrices=False)
    found = [transferability._evidence(basis, s, 1.0 * (g["labels"] == c), *options.values()) for c in range(4)]
    np.testing.assert_allclose([alpha for _, alpha, _ in found], g["logme_alphas"], rtol=1e-9)
    np.testing.assert_allclose([beta for _, _, beta in found], g["logme_betas"], rtol=1e-9)


def test_leep_by_hand():
    total = 0.0
    for n, y in enumerate(LABELS):
        given = [THETA[y == LABELS, z].sum() / THETA[:, z].sum() for z in range(5)]
        total += np.log(np.dot(given, THETA[n]))
    assert leep(THETA, LABELS) == pytest.approx(total / 40, rel=1e-12)


def test_leep_of_decisions_is_the_conditional_entropy():
    """Where the source is sure, both are the same number: minus H(Y | Z)."""
    z = RANDOM.integers(0, 4, 40)
    entropy = -np.sum(np.bincount(LABELS) / 40 * np.log(np.bincount(LABELS) / 40))
    assert leep(np.eye(5)[z], LABELS) == pytest.approx(mutual_info_score(LABELS, z) - entropy, rel=1e-9)
    assert negative_conditional_entropy(z, LABELS) == pytest.approx(leep(np.eye(5)[z], LABELS), rel=1e-9)
    assert negative_conditional_entropy(LABELS, LABELS) == leep(np.eye(3)[LABELS], LABELS) == 0
    assert leep(np.full((40, 5), 0.2), LABELS) == pytest.approx(-entropy, rel=1e-9)


def of_covariances(x, y, shrinkage=None):
    x = np.float64(x)
    means = np.stack([x[y == c].mean(0) for c in y])
    cov = np.cov(x.T) if shrinkage is None else ledoit_wolf(x)[0]
    return (1 - (shrinkage or 0.0)) * np.trace(np.linalg.inv(cov) @ np.cov(means.T))


def test_h_score_equals_numpy():
    assert h_score(FEATURES, LABELS) == pytest.approx(of_covariances(FEATURES, LABELS), rel=1e-9)
    wanted = of_covariances(FEATURES, LABELS, ledoit_wolf(np.float64(FEATURES))[1])
    assert h_score(FEATURES, LABELS, regularised=True) == pytest.approx(wanted, rel=1e-9)
    wide = RANDOM.normal(size=(12, 30)) + LABELS[:12, None]  # fewer rows than features
    wanted = of_covariances(wide, LABELS[:12], ledoit_wolf(wide)[1])
    assert h_score(wide, LABELS[:12], regularised=True) == pytest.approx(wanted, rel=1e-9)


def test_h_score_does_not_see_linear_maps_and_dead_channels():
    score = h_score(FEATURES, LABELS)
    turned = FEATURES.astype(float) @ RANDOM.normal(size=(6, 6)) + 7
    more = np.concatenate([turned, np.full((40, 1), 0.1), turned[:, :2].sum(1, keepdims=True)], 1)
    assert h_score(turned, LABELS) == pytest.approx(score, rel=1e-9)
    assert h_score(more, LABELS) == pytest.approx(score, rel=1e-9)
    assert h_score(np.float32(more), LABELS) == pytest.approx(score, rel=1e-4)
    assert np.isfinite(h_score(more, LABELS, regularised=True))


def test_h_score_lies_between_0_and_the_classes_minus_one():
    assert h_score(np.eye(3)[LABELS], LABELS) == pytest.approx(2, rel=1e-12)
    same = np.full((40, 4), 0.1)  # whose mean is not quite 0.1
    assert h_score(same, LABELS) == h_score(same, LABELS, regularised=True) == 0
    assert h_score(RANDOM.normal(size=(40, 60)), LABELS) == pytest.approx(2, rel=1e-9)  # chance
    assert h_score(RANDOM.normal(size=(40, 60)), LABELS, regularised=True) < 1
    assert h_score(FEATURES, np.zeros(40, int)) == pytest.approx(0, abs=1e-20)


def test_log_me_is_the_density_of_the_labels():
    """At the alpha and beta found, by a normal distribution over all rows at once; which no others improve."""
    x, target = np.float64(FEATURES), 1.0 * (LABELS == 1)
    basis, s, _ = np.linalg.svd(x, full_matrices=False)
    evidence, alpha, beta = transferability._evidence(basis, s, target, 1e-12, 1000)

    def density(a, b):
        return multivariate_normal(cov=np.eye(40) / b + x @ x.T / a).logpdf(target) / 40

    assert evidence + 1e-5 * (alpha + beta) / 80 == pytest.approx(density(alpha, beta), rel=1e-9)
    assert all(density(alpha, beta) > density(alpha * a, beta * b) for a, b in ((1.1, 1), (0.9, 1), (1, 1.1), (1, 0.9)))
    every = [transferability._evidence(basis, s, 1.0 * (c == LABELS), 1e-12, 1000)[0] for c in range(3)]
    assert log_me(FEATURES, LABELS, tolerance=1e-12, iterations=1000) == pytest.approx(np.mean(every), rel=1e-12)
    assert log_me(FEATURES, LABELS) == pytest.approx(np.mean(every), abs=1e-2)


def test_log_me_of_odd_features():
    for odd in (np.zeros((40, 4)), np.ones((40, 4)), RANDOM.normal(size=(12, 30)), 1e9 * RANDOM.normal(size=(12, 30))):
        assert np.isfinite(log_me(odd, LABELS[: len(odd)]))
    assert log_me(np.eye(3)[LABELS], LABELS) > log_me(FEATURES, LABELS) > log_me(FEATURES[:, :0:-1], LABELS[::-1])
    # A direction of zeros changes nothing.
    assert log_me(np.pad(FEATURES, ((0, 0), (0, 2))), LABELS) == pytest.approx(log_me(FEATURES, LABELS), rel=1e-9)


def test_names_of_classes_and_short_floats_do_not_count():
    other = np.int8([5, 2, 100])[LABELS]
    for measure, x in ((leep, THETA), (h_score, FEATURES), (log_me, FEATURES)):
        assert measure(x, other) == pytest.approx(measure(x, LABELS), rel=1e-12)
        low = jnp.asarray(x, jnp.bfloat16)
        assert measure(low, jnp.asarray(LABELS)) == measure(np.float64(low), LABELS)
    assert negative_conditional_entropy(other, LABELS) == negative_conditional_entropy(LABELS, other) == 0


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: leep(FEATURES, LABELS), "probabilities are not accepted: expected rows of numbers of at least 0 that sum to 1"),
        (lambda: leep(THETA, LABELS[:9]), "probabilities have 40 rows and labels 9: expected as many"),
        (lambda: leep(THETA[0], LABELS), r"probabilities of shape \(5,\) are not accepted: expected \[N, Z\]"),
        (lambda: leep(THETA, LABELS - 1), r"labels of shape \(40,\) and type int64 are not accepted: expected class numbers of 0"),
        (lambda: negative_conditional_entropy(THETA[:, 0], LABELS), r"source of shape \(40,\) and type float64"),
        (lambda: negative_conditional_entropy(LABELS[:3], LABELS), "source have 3 rows and labels 40"),
        (lambda: h_score(FEATURES[:1], LABELS[:1]), r"features of shape \(1, 6\) are not accepted: expected 2 rows or more"),
        (lambda: h_score(np.where(FEATURES > 7, np.nan, FEATURES), LABELS), "features are not accepted: row [0-9]+ holds a number"),
        (lambda: h_score(FEATURES, LABELS, regularised=0.1), "regularised=0.1 is not accepted: expected True or False"),
        (lambda: log_me(FEATURES, LABELS[:, None]), r"labels of shape \(40, 1\)"),
        (lambda: log_me(FEATURES, LABELS, tolerance=-1), "tolerance=-1"),
        (lambda: log_me(FEATURES, LABELS, iterations=0), "iterations=0"),
    ],
)
def test_refusals(call, line):
    with pytest.raises(InputError, match=line) as error:
        call()
    assert "\n" not in str(error.value)
