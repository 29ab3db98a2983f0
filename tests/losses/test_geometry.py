import jax
import jax.numpy as jnp
import numpy as np
from oracle import same_gradient, same_value, value_and_grad

from kdjax.losses._geometry import absolute, off_diagonal, root, shrink

RNG = np.random.default_rng(2)


def test_zero_is_quiet():
    zero = jnp.zeros((2, 3))
    for f in (root, absolute, shrink):
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
