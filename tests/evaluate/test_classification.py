import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, top_k_accuracy_score

from kdjax.core.check import InputError
from kdjax.evaluate import brier, expected_calibration_error, negative_log_likelihood, reliability, top_k

RANDOM = np.random.default_rng(0)
LOGITS = (3 * RANDOM.normal(size=(200, 7))).astype(np.float32)
LABELS = RANDOM.integers(0, 7, 200)
P = np.exp(LOGITS.astype(np.float64))
P /= P.sum(1, keepdims=True)


def ece(p, labels, bins):
    """By hand, bin by bin."""
    confidence, correct = p.max(1), p.argmax(1) == labels
    value = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            value += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return value


def test_the_authors_code_gives_the_same_calibration_error(golden):
    g = golden("eval/ece")
    found = expected_calibration_error(jnp.array(g["logits"]), jnp.array(g["labels"]), bins=int(g["hp_n_bins"]))
    np.testing.assert_allclose(found, g["ece"], rtol=1e-5)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_top_k_equals_scikit_learn(k):
    ours = top_k(jnp.array(LOGITS), jnp.array(LABELS), k=k)
    np.testing.assert_allclose(ours.mean(), top_k_accuracy_score(LABELS, LOGITS, k=k, labels=range(7)), rtol=1e-6)


def test_a_collapsed_net_is_no_good():
    # Equal scores name class 0 only; NaN names nothing; a row without a label is never right.
    labels = jnp.arange(4)
    assert top_k(jnp.zeros((4, 4)), labels).tolist() == [1, 0, 0, 0]
    assert top_k(jnp.full((4, 4), jnp.nan), labels, k=4).tolist() == [0, 0, 0, 0]
    assert top_k(jnp.eye(4), jnp.full(4, -1)).tolist() == [0, 0, 0, 0]
    assert top_k(jnp.array([[0.0, -jnp.inf]]), jnp.array([0])).tolist() == [1]


@pytest.mark.parametrize("k", [0, 8])
def test_top_k_refuses(k):
    with pytest.raises(InputError, match=f"k={k} .* 1 to 7"):
        top_k(jnp.array(LOGITS), jnp.array(LABELS), k=k)


def test_likelihood_equals_scikit_learn():
    ours = negative_log_likelihood(jnp.array(LOGITS), jnp.array(LABELS))
    assert ours.shape == (200,)
    np.testing.assert_allclose(ours.mean(), log_loss(LABELS, P, labels=range(7)), rtol=1e-5)


def test_likelihood_of_extreme_logits():
    nll = negative_log_likelihood(jnp.array([[1e4, -1e4], [1e4, -1e4]]), jnp.array([0, 1]))
    np.testing.assert_allclose(nll, [0, 2e4])


def test_brier_equals_numpy_and_scikit_learn():
    ours = brier(jnp.array(LOGITS), jnp.array(LABELS))
    np.testing.assert_allclose(ours, ((P - np.eye(7)[LABELS]) ** 2).sum(1), atol=1e-6)
    two, labels = LOGITS[:, :2], LABELS % 2
    p = 1 / (1 + np.exp(-(two[:, 1] - two[:, 0]).astype(np.float64)))
    np.testing.assert_allclose(brier(jnp.array(two), jnp.array(labels)).mean(), 2 * brier_score_loss(labels, p), rtol=1e-5)


def test_rows_without_a_label_are_nan():
    labels = jnp.array([-1, 0])
    for measure in (brier, negative_log_likelihood):
        assert jnp.isnan(measure(jnp.zeros((2, 3)), labels)).tolist() == [True, False]


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_equals_the_hand(bins):
    logits, labels = jnp.array(LOGITS), jnp.array(LABELS)
    ours = jax.jit(lambda x, y: expected_calibration_error(x, y, bins=bins))(logits, labels)
    np.testing.assert_allclose(ours, ece(P, LABELS, bins), atol=1e-6)
    given = expected_calibration_error(jnp.array(P, jnp.float32), labels, bins=bins, probabilities=True)
    np.testing.assert_allclose(given, ours, atol=1e-6)


def test_calibration_masks_rows():
    where = jnp.arange(200) % 3 > 0
    logits = jnp.where(where[:, None], LOGITS, jnp.nan)
    ours = expected_calibration_error(logits, jnp.array(LABELS), where=where)
    keep = np.asarray(where)
    np.testing.assert_allclose(ours, ece(P[keep], LABELS[keep], 15), atol=1e-6)
    assert expected_calibration_error(logits, jnp.array(LABELS), where=jnp.zeros(200, bool)) == 0


def test_calibration_at_an_edge_counts_below():
    # A right row of confidence 0.5 and a wrong one of 1, each alone in its bin: 0.5 / 2 + 1 / 2. Together: 0.25.
    p = jnp.array([[0.5, 0.5], [1.0, 0.0]])
    assert expected_calibration_error(p, jnp.array([0, 1]), bins=2, probabilities=True) == 0.75


@pytest.mark.parametrize("bins", [1, 10])
def test_reliability_equals_the_hand_and_adds_up_to_the_error(bins):
    found = reliability(jnp.array(LOGITS), jnp.array(LABELS), bins=bins)
    confidence, correct = P.max(1), P.argmax(1) == LABELS
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        means = (confidence[inside].mean(), correct[inside].mean()) if inside.any() else (0, 0)
        np.testing.assert_allclose([x[b] for x in found], [inside.mean(), *means], atol=1e-6)
    gaps = found.share * jnp.abs(found.accuracy - found.confidence)
    np.testing.assert_allclose(gaps.sum(), ece(P, LABELS, bins), atol=1e-6)


@pytest.mark.parametrize("measure", [expected_calibration_error, reliability])
def test_calibration_refuses(measure):
    with pytest.raises(InputError, match="bins=0"):
        measure(jnp.array(LOGITS), jnp.array(LABELS), bins=0)


@pytest.mark.parametrize("measure", [top_k, brier, negative_log_likelihood, expected_calibration_error, reliability])
def test_shapes_are_checked(measure):
    for labels in (jnp.zeros(199, int), jnp.zeros((200, 1), int)):
        with pytest.raises(InputError, match="has shape"):
            measure(jnp.array(LOGITS), labels)
