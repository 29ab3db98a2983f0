import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import core


def test_the_newest_rows_stay_over_many_turns():
    queue, pushed = core.new_queue(jnp.full((5, 2), -1.0)), []
    push = jax.jit(core.push)
    for turn in range(7):
        rows = 10.0 * turn + jnp.arange(3.0)
        pushed += rows.tolist()
        queue = push(queue, jnp.stack([rows, rows], 1))
        count = len(pushed)
        assert int(queue.pushed) == count
        assert sorted(queue.rows[queue.filled, 0].tolist()) == sorted(pushed[-5:])
        assert int(queue.filled.sum()) == min(count, 5)
        place = (count - 1) % 5
        assert queue.rows[place].tolist() == [pushed[-1]] * 2


def test_rows_that_were_never_pushed_are_kept():
    queue = core.push(core.new_queue(jnp.array([7.0, 8.0, 9.0])), jnp.array([1.0]))
    assert queue.rows.tolist() == [1.0, 8.0, 9.0] and queue.filled.tolist() == [True, False, False]


def test_a_push_keeps_the_dtype_and_no_gradient_is_needed():
    queue = core.push(core.new_queue(jnp.zeros((2, 1), jnp.bfloat16)), jnp.ones((1, 1), jnp.float32))
    assert queue.rows.dtype == jnp.bfloat16 and queue.pushed.dtype == jnp.int32


def test_as_many_rows_as_the_queue_holds_fit_and_more_do_not():
    queue = core.push(core.new_queue(jnp.zeros(4)), jnp.arange(2.0))
    assert core.push(queue, jnp.arange(4.0)).rows.tolist() == [2.0, 3.0, 0.0, 1.0]
    with pytest.raises(core.InputError, match="queue of 4 rows cannot take 5 at once"):
        core.push(queue, jnp.arange(5.0))
    with pytest.raises(core.InputError, match="queue of 4 rows cannot take 6 at once"):  # the global batch counts
        jax.vmap(lambda rows: core.push(queue, rows, "data").rows, axis_name="data")(jnp.zeros((2, 3)))


def test_rows_of_all_devices_in_global_order():
    pushed = jax.vmap(lambda rows: core.push(core.new_queue(jnp.zeros(6)), rows, "data").rows, axis_name="data")
    np.testing.assert_array_equal(pushed(jnp.arange(1.0, 5.0).reshape(2, 2)), [[1, 2, 3, 4, 0, 0]] * 2)
