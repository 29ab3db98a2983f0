"""Rounds of synthesis, then of learning."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, equal, start
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from tiny_nets import frozen, small

from kdjax import methods
from kdjax.core import InputError, jit_fast_compile

KEY = jax.random.key(5)
BATCH = {"index": jnp.arange(8)}


def inversion(axis_name=None, **options):
    counts = {"synthesis_steps": 2, "student_steps": 3, "pool": 16, "padding": 1, "batch_norm": 0.1, "roll": 1, "classes": 4}
    student, teacher = small(axis_name), small(axis_name, 6)
    method = methods.deep_inversion(
        student, teacher, optax.sgd(0.1), optax.adam(0.1), shape=(8, 8, 1), axis_name=axis_name, **{**counts, **options}
    )
    return method, {"teacher": frozen(teacher)}


@pytest.fixture(scope="module")
def run():
    """The States and metrics of twelve steps: two rounds, and the beginning of a third."""
    method, given = inversion()
    state, step = method.init(KEY, BATCH, given), jit_fast_compile(method.step)
    states, metrics = [state], []
    for k in range(12):
        state, logged = step(state, BATCH, jax.random.fold_in(KEY, k))
        states.append(state)
        metrics.append(logged)
    return states, metrics


def test_a_round_makes_images_and_then_teaches(run):
    states, _ = run
    made = [not equal(a.maker, b.maker) for a, b in itertools.pairwise(states)]
    learnt = [not equal(a.student, b.student) for a, b in itertools.pairwise(states)]
    assert made == [True, True, False, False, False] * 2 + [True, True]
    assert learnt == [not x for x in made]


def test_the_best_images_of_a_round_go_to_the_pool(run):
    states, metrics = run
    pushed = [int(s.pool.pushed) for s in states]
    assert pushed == [0, 0, 8, 8, 8, 8, 8, 16, 16, 16, 16, 16, 24]
    losses = [float(m["synthesis_loss"]) for m in metrics]
    assert float(states[2].best.loss) == pytest.approx(min(losses[:2])) and losses[1] == losses[4]
    expected = np.round(255 * np.clip(states[2].best.image, 0, 1)).astype(np.uint8)
    np.testing.assert_array_equal(states[2].pool.rows[:8], expected)
    assert not states[2].pool.rows[8:].any()
    np.testing.assert_array_equal(states[12].pool.rows[8:], states[7].pool.rows[8:])  # the oldest gave way


def test_a_round_begins_anew(run):
    states, _ = run
    assert int(states[1].maker.opt[0].count) == 1 and int(states[6].maker.opt[0].count) == 1
    assert float(jnp.abs(states[6].maker.params["pixels"] - states[2].maker.params["pixels"]).mean()) > 0.1
    assert sorted(np.bincount(states[6].labels, minlength=4)) == [2, 2, 2, 2]


def test_pixels_stay_in_their_range(run):
    for state in run[0][1:]:
        assert float(state.maker.params["pixels"].min()) >= 0 and float(state.maker.params["pixels"].max()) <= 1


def test_the_student_sees_images_of_the_pool(run):
    """A pool of one image: whatever rows are drawn, this is what it learns from, cropped or mirrored."""
    method, _ = inversion(padding=0)
    state = run[0][2]
    rows = jnp.broadcast_to(state.pool.rows[:1], state.pool.rows.shape)
    a = method.step(state._replace(pool=state.pool.replace(rows=rows)), BATCH, KEY)[1]
    rows = rows.at[8:].set(255)  # rows that were never pushed
    b = method.step(state._replace(pool=state.pool.replace(rows=rows)), BATCH, KEY)[1]
    assert float(a["student_loss"]) == float(b["student_loss"]) > 0


def test_the_student_waits_for_the_warm_up():
    make = CASES["fast_dfkd"]
    case = make(synthesis_steps=1, student_steps=1, warm_up=2)
    state, step = start(case), jit_fast_compile(case.method.step)
    first, learnt = state.student, []
    for k in range(5):
        state, _ = step(state, case.batch, jax.random.key(k))
        learnt.append(not equal(first, state.student))
        first = state.student
    assert learnt == [False, False, False, True, False] and int(state.pool.pushed) == 4 * 16


@pytest.mark.parametrize("mapped", [False, True])
def test_the_student_s_part_over_devices_is_the_same(run, mapped):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    state, expected = run[0][2], run[0][3]
    key = jax.random.fold_in(KEY, 2)
    method, _ = inversion("data" if mapped else None)
    if mapped:
        step = jax.jit(jax.shard_map(method.step, mesh=mesh, in_specs=(P(), P("data"), P()), out_specs=P()))
    else:
        whole, rows = (jax.NamedSharding(mesh, spec) for spec in (P(), P("data")))
        step = jax.jit(method.step, in_shardings=(whole, rows, whole), out_shardings=whole)
    found = step(state, BATCH, key)[0]
    close(found._replace(metrics={}), expected._replace(metrics={}), rtol=1e-6, atol=1e-6)
    close(found.metrics, expected.metrics, rtol=1e-6, atol=400 * 3e-8)  # T^2 times the rounding of a sum


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"pool": 4}, r"pool=4 is not accepted: it must hold the 8 images of a round"),
        ({"synthesis_steps": 0}, r"synthesis_steps=0 is not accepted"),
        ({"student_steps": 0}, r"student_steps=0 is not accepted"),
        ({"classes": 7}, r"classes=7 is not accepted: expected 4, those of the teacher"),
        ({"roll": 8}, r"roll=8 is not accepted: expected a whole number of pixels, below the sides of an image"),
    ],
)
def test_what_does_not_fit_is_refused(options, line):
    with pytest.raises(InputError, match=line):
        method, given = inversion(**options)
        jax.eval_shape(method.init, KEY, BATCH, given)
