import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, pearsonr

from kdjax.core import InputError
from kdjax.evaluate import divergence, forgetting, logit_correlation, relative_accuracy, top1_agreement

RANDOM = np.random.default_rng(0)
S, T = RANDOM.normal(size=(2, 20, 5)).astype(np.float32)


def softmax(x):
    e = np.exp(x.astype(np.float64))
    return e / e.sum(1, keepdims=True)


def test_agreement_equals_numpy():
    np.testing.assert_array_equal(top1_agreement(jnp.array(S), jnp.array(T)), S.argmax(1) == T.argmax(1))


def test_divergence_equals_scipy():
    ours = divergence(jnp.array(S), jnp.array(T))
    np.testing.assert_allclose(ours, entropy(softmax(T), softmax(S), axis=1), atol=1e-6)
    assert jnp.isfinite(divergence(jnp.array([[1e4, -1e4]]), jnp.array([[-1e4, 1e4]]))).all()


def test_correlation_equals_scipy():
    expected = [pearsonr(s, t)[0] for s, t in zip(S, T, strict=True)]
    np.testing.assert_allclose(logit_correlation(jnp.array(S), jnp.array(T)), expected, atol=1e-6)
    np.testing.assert_allclose(logit_correlation(jnp.array(1e4 * S + 3), jnp.array(-T)), -np.array(expected), atol=1e-4)
    assert logit_correlation(jnp.ones((1, 5)), jnp.array(T[:1])).tolist() == [0.0]


def test_forgetting_is_scipys_divergence_of_both_ways():
    expected = jensenshannon(softmax(S), softmax(T), axis=1) ** 2
    np.testing.assert_allclose(forgetting(jnp.array(S), jnp.array(T)), expected, atol=1e-6)
    np.testing.assert_allclose(forgetting(jnp.array(T), jnp.array(S)), expected, atol=1e-6)
    assert not forgetting(jnp.array(S), jnp.array(S)).any()
    np.testing.assert_allclose(forgetting(jnp.array([[1e4, 0]]), jnp.array([[0, 1e4]])), np.log(2), atol=1e-6)


def test_relative_accuracy_of_numbers_and_of_members():
    assert relative_accuracy(45.0, 90.0) == 50 and relative_accuracy(0.99, 0.9) == pytest.approx(110)
    np.testing.assert_allclose(relative_accuracy(np.array([45.0, 90.0]), np.array([90.0, 60.0])), [50, 150])
    for none in (0.0, np.array([90.0, 0.0])):
        with pytest.raises(InputError, match=r"reference=.* expected accuracies above 0"):
            relative_accuracy(45.0, none)


@pytest.mark.parametrize("measure", [top1_agreement, divergence, logit_correlation, forgetting])
def test_shapes_are_checked(measure):
    with pytest.raises(InputError, match="has shape"):
        measure(jnp.array(S), jnp.array(T[:, :4]))
