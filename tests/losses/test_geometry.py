import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import same_gradient, same_value, value_and_grad

from kdjax.losses._geometry import absolute, off_diagonal, root, shrink, unit

RNG = np.random.default_rng(2)


def test_unit_at_every_length():
    x = RNG.normal(size=(4, 6)).astype(np.float32) * np.array([[1e-9], [1.0], [1e4], [1e30]], np.float32)
    expected = np.float64(x) / np.linalg.norm(np.float64(x), axis=1, keepdims=True)
    same_value(unit(jnp.asarray(x), 1), expected, 1e-6)
    weights = RNG.normal(size=x.shape)
    gradient = value_and_grad(lambda x: jnp.sum(unit(x, 1) * weights.astype(np.float32)))(x)[1]
    length = np.linalg.norm(np.float64(x), axis=1, keepdims=True)
    truth = (weights - expected * (expected * weights).sum(1, keepdims=True)) / length
    for row, right in zip(gradient, truth, strict=True):
        same_gradient(row, right)


@pytest.mark.parametrize("length", [3e-12, 0.9e-12, 1e-16, 1e-30])
def test_unit_of_a_tiny_vector_divides_by_no_less_than_1e_12(length):
    x = np.float32([[3, -4, 0], [0, 0, 0]]) / 5 * np.float32(length)
    weights = np.float32([[1, 2, 3]] * 2)
    value, gradient = value_and_grad(lambda x: jnp.sum(unit(x, 1) * weights))(x)
    same_value(value, np.float64(x[0] @ np.float64(weights[0]) / max(length, 1e-12)))
    assert jnp.all(jnp.isfinite(gradient)) and not gradient[1].any()
    if length < 1e-12:
        same_gradient(gradient[0], np.float64(weights[0]) * 1e12)


def test_zero_is_quiet():
    zero = jnp.zeros((2, 3))
    for f in (lambda x: unit(x, 1), root, absolute, shrink):
        value, gradient = value_and_grad(lambda x, f=f: jnp.sum(f(x)))(zero)
        assert value == 0
        assert jnp.all(gradient == 0 if f is not shrink else jnp.isfinite(gradient))


def test_shrink_divides_by_a_constant():
    x = jnp.array([[1.0, -4.0], [2e30, 1e30]])
    value, gradient = value_and_grad(lambda x: jnp.sum(shrink(x)))(x)
    same_value(value, np.float64(0.75))
    same_gradient(gradient[0], np.array([0.25, 0.25]))


def test_off_diagonal_knows_the_row_numbers():
    x = jnp.ones((4, 4))
    np.testing.assert_array_equal(off_diagonal(x, None), 1 - np.eye(4))
    halves = jax.vmap(lambda h: off_diagonal(h, "data"), axis_name="data")(x.reshape(2, 2, 4))
    np.testing.assert_array_equal(halves.reshape(4, 4), 1 - np.eye(4))
