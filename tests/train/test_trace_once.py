"""A method that Python runs once for all programs of a run computes what it did, and knows its weights again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import assert_same, linear, run, sgd, stage

from kdjax import methods
from kdjax.core import Frozen, InputError, check_option
from kdjax.train import run_stages
from kdjax.train.program import trace
from kdjax.train.trace_once import trace_once, traced_once

BATCH = {"image": jnp.ones((4, 4, 4, 1)), "label": jnp.arange(4) % 3, "index": jnp.arange(4)}
FIRST, KEY = jax.random.key(0), jax.random.key(1)


def counted(f, times):
    def call(*args):
        times.append(1)
        return f(*args)

    return call


def test_a_run_traces_init_and_step_once_each(tmp_path):
    inits, steps = [], []
    made = methods.supervised(linear(), sgd())
    watched = stage(made._replace(init=counted(made.init, inits), step=counted(made.step, steps)), members=2)
    once = run_stages({"only": watched}, run(tmp_path / "once"))["only"]
    assert (len(inits), len(steps)) == (1, 1)
    assert once.digest == run_stages({"only": stage(made, members=2)}, run(tmp_path / "again"))["only"].digest


def test_init_step_and_their_identity_are_those_of_the_method():
    """Twice, so that the second call repeats what the first one has traced, for a teacher of another source."""
    method = methods.kd(linear(), linear(), sgd())
    once = trace_once(stage(method)).method
    for source in ("one", "other"):
        given = {"teacher": Frozen(*linear().init(KEY, BATCH["image"]), source)}
        state, wanted = (jax.jit(m.init)(FIRST, BATCH, given) for m in (once, method))
        assert_same(state, wanted)
        assert_same(jax.jit(once.step)(state, BATCH, KEY), jax.jit(method.step)(wanted, BATCH, KEY))
        assert trace(once.init, FIRST, BATCH, given)[0] == trace(method.init, FIRST, BATCH, given)[0]
        assert trace(once.step, state, BATCH, KEY)[0] == trace(method.step, state, BATCH, KEY)[0]


def test_each_of_two_teachers_keeps_its_source():
    def exchanged(state):
        return {"first": state["second"], "second": state["first"], "kept": [state["first"]]}

    names = ("b", "a")
    for one, two in (names, names[::-1], ("x", "x")):
        state = {"first": Frozen(jnp.ones(2), {}, one), "second": Frozen(jnp.zeros(2), {}, two)}
        assert_same(traced_once(exchanged)(state), exchanged(state))


def test_other_shapes_dtypes_and_weak_types_are_traced_anew():
    times = []
    double = traced_once(counted(lambda x: 2 * x, times))
    pairs, three = (jnp.ones(2), jnp.zeros(2), np.ones(2, np.float32)), jnp.ones(3)
    for x in (*pairs, three, three.astype(int), jnp.asarray(1.0), jnp.float32(1)):
        assert_same(double(x), 2 * jnp.asarray(x))
    assert len(times) == 5


def test_under_a_map_over_members_it_is_the_same():
    square = traced_once(lambda state, x: (state * x, jnp.sum(x)))
    states, rows = jnp.arange(3.0), jnp.arange(12.0).reshape(3, 4)
    wanted = rows * states[:, None], jnp.sum(rows, 1)
    assert_same(jax.jit(jax.vmap(square))(states, rows), wanted)
    assert_same(jax.jit(lambda s, x: jax.lax.map(lambda both: square(*both), (s, x)))(states, rows), wanted)


def test_numbers_of_python_are_checked_each_time():
    def scaled(x, by):
        check_option("by", by, lambda b: b > 0, "a number above 0")
        return by * x

    once = traced_once(scaled)
    once(jnp.ones(2), jnp.float32(2))
    with pytest.raises(InputError, match=r"by=-1.0 is not accepted"):
        once(jnp.ones(2), -1.0)


def test_a_method_for_a_mapped_axis_and_one_that_is_traced_once_stay_as_they_are():
    mapped = stage(methods.supervised(linear(), sgd(), axis_name="data"), unmapped=methods.supervised(linear(), sgd()))
    assert trace_once(mapped) is mapped
    once = trace_once(stage())
    assert trace_once(once) is once
