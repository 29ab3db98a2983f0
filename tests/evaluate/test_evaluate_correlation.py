import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.evaluate import class_correlation, correlation_difference, correlation_gap

RANDOM = np.random.default_rng(0)
S, T = (RANDOM.normal(size=(2, 50, 5)) @ RANDOM.normal(size=(5, 5)) + 4).astype(np.float32)


def test_correlation_equals_numpy():
    np.testing.assert_allclose(class_correlation(jnp.array(S)), np.corrcoef(S.T.astype(float)), atol=1e-6)


def test_difference_and_gap_equal_numpy():
    expected = np.corrcoef(S.T.astype(float)) - np.corrcoef(T.T.astype(float))
    np.testing.assert_allclose(correlation_difference(jnp.array(S), jnp.array(T)), expected, atol=1e-6)
    np.testing.assert_allclose(correlation_gap(jnp.array(S), jnp.array(T)), np.abs(expected).mean(), atol=1e-6)
    assert correlation_gap(jnp.array(S), jnp.array(S)) == 0


def test_scale_and_shift_of_a_class_change_nothing():
    changed = S * np.float32([1, 1e4, 1e-4, 3, 1e8]) + np.float32([5, 0, 0, -9, 0])
    np.testing.assert_allclose(class_correlation(jnp.array(changed)), class_correlation(jnp.array(S)), atol=1e-5)
    np.testing.assert_allclose(class_correlation(jnp.array(1e30 * S)), class_correlation(jnp.array(S)), atol=1e-5)


def test_a_constant_class_goes_with_none():
    constant = S.copy()
    constant[:, 2] = 0.1
    found = np.asarray(class_correlation(jnp.array(constant)))
    assert not found[2].any() and not found[:, 2].any() and found[0, 0] == pytest.approx(1)


def test_shapes_are_checked():
    with pytest.raises(InputError, match="has shape"):
        correlation_difference(jnp.array(S), jnp.array(T[:, :4]))
    with pytest.raises(InputError, match="has shape"):
        correlation_gap(jnp.array(S), jnp.array(T[:4]))
    with pytest.raises(InputError, match="has shape"):
        class_correlation(jnp.array(S[0]))
