import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import unit

RNG = np.random.default_rng(2)


def value_and_grad(f, x):
    return jax.jit(jax.value_and_grad(f))(x)


def same(a, b, tolerance=1e-5):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


def test_at_every_length():
    x = RNG.normal(size=(4, 6)).astype(np.float32) * np.array([[1e-9], [1.0], [1e4], [1e30]], np.float32)
    length = np.linalg.norm(np.float64(x), axis=1, keepdims=True)
    expected = np.float64(x) / length
    same(unit(jnp.asarray(x), 1), expected, 1e-6)
    weights = RNG.normal(size=x.shape)
    gradient = value_and_grad(lambda x: jnp.sum(unit(x, 1) * weights.astype(np.float32)), x)[1]
    truth = (weights - expected * (expected * weights).sum(1, keepdims=True)) / length
    for row, right in zip(gradient, truth, strict=True):
        same(row, right)


@pytest.mark.parametrize("length", [3e-12, 0.9e-12, 1e-16, 1e-30])
def test_a_tiny_vector_is_divided_by_no_less_than_1e_12(length):
    x = np.float32([[3, -4, 0], [0, 0, 0]]) / 5 * np.float32(length)
    weights = np.float32([[1, 2, 3]] * 2)
    value, gradient = value_and_grad(lambda x: jnp.sum(unit(x, 1) * weights), x)
    same(value, np.float64(x[0] @ np.float64(weights[0]) / max(length, 1e-12)))
    assert jnp.all(jnp.isfinite(gradient)) and not gradient[1].any()
    if length < 1e-12:
        same(gradient[0], np.float64(weights[0]) * 1e12)


def test_zeros_stay_and_pull_nowhere():
    value, gradient = value_and_grad(lambda x: jnp.sum(unit(x, 1)), jnp.zeros((2, 3)))
    assert value == 0 and not gradient.any()
