import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import core

KEY = jax.random.key(7)


def data(keys):
    return np.asarray(jax.random.key_data(keys))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_row_keys_do_not_depend_on_the_spread(parts):
    whole = data(core.row_keys(KEY, 8))
    spread = jax.vmap(lambda _: core.row_keys(KEY, 8 // parts, "data"), axis_name="data", axis_size=parts)(jnp.zeros(parts))
    np.testing.assert_array_equal(data(spread).reshape(whole.shape), whole)
    assert len(np.unique(whole, axis=0)) == 8


def test_row_keys_are_a_prefix_of_those_of_a_larger_batch():
    np.testing.assert_array_equal(data(core.row_keys(KEY, 8))[:4], data(core.row_keys(KEY, 4)))


def test_example_keys_follow_the_number_not_the_place():
    a, b = data(core.example_keys(KEY, jnp.array([5, 9, 2]))), data(core.example_keys(KEY, jnp.array([2, 5, 9])))
    np.testing.assert_array_equal(a, b[[1, 2, 0]])
    np.testing.assert_array_equal(a[0], data(jax.random.fold_in(KEY, 5)))


def test_row_normal_is_standard_normal_row_by_row():
    x = core.row_normal(KEY, 2000, (3,))
    assert x.shape == (2000, 3)
    assert abs(float(x.mean())) < 0.05 and abs(float(x.std()) - 1) < 0.05
    np.testing.assert_array_equal(x[:5], core.row_normal(KEY, 5, (3,)))
    assert not np.array_equal(x, core.row_normal(jax.random.key(8), 2000, (3,)))
