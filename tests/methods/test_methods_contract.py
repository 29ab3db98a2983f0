"""What every method promises, checked on all of them."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, close, equal, kd, start, supervised
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from mutual_cases import dml
from tiny_nets import Case, images, without_batch_norm

from kdjax import methods
from kdjax.core import Follower, Frozen, InputError, Learner, Method, jit_fast_compile, join, split
from kdjax.core.method import COLUMNS

FIRST, KEY = jax.random.key(0), jax.random.key(5)


class Compiled(NamedTuple):
    """A case with its first State and its step, traced and compiled once for all tests.

    Attributes:
      name: of the case.
      case: the case.
      mapped: the method again, for a batch that lies along a mapped axis "data".
      init: of the method, compiled.
      state: its first State.
      step: of the method, compiled; the State it takes stays.
      donating: `(moving, frozen, batch, key) -> (moving, metrics)`, which takes what moves away.
      traces: one entry a trace.
    """

    name: str
    case: Case
    mapped: Method
    init: Callable
    state: Any
    step: Callable
    donating: Callable
    traces: list


@pytest.fixture(scope="module", params=CASES)
def compiled(request):
    make, traces = CASES[request.param], []
    case, mapped = make(), make("data").method
    case = case._replace(batch={name: case.batch[name] for name in documented(request.param) if name in case.batch})
    init, traced = jit_fast_compile(case.method.init), jax.jit(case.method.step)

    @partial(jax.jit, donate_argnums=0)
    def donating(moving, frozen, batch, key):
        traces.append(1)
        new, metrics = traced(join(moving, frozen), batch, key)
        return split(new)[0], metrics

    def step(state, batch, key):
        moving, frozen = split(state)
        moving, metrics = donating(copied(moving), frozen, batch, key)
        return join(moving, frozen), metrics

    yield Compiled(request.param, case, mapped, init, init(FIRST, case.batch, case.given), step, donating, traces)
    jax.clear_caches()  # or the programs of all methods would fill the memory


def documented(name):
    """The columns of a batch that a method's docstring says it asks for; there are no others in these tests."""
    _, _, returns = (getattr(methods, name).__doc__ or "").partition("A Method of batches of ")
    return [column for column in re.findall(r'"(\w+)"', returns.partition("\n\n")[0]) if column in COLUMNS]


def copied(tree):
    return jax.device_put(tree, may_alias=False)


def nodes(state, kind):
    return [x for x in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kind)) if isinstance(x, kind)]


def kernels(params):
    """The weights of layers, and rows that are trained. Left out: a bias in front of batch norm, whose gradient is zero."""
    flat = jax.tree_util.tree_leaves_with_path(params)
    return [x for path, x in flat if getattr(path[-1], "key", None) in ("kernel", "latent", "pixels")]


def test_every_public_method_is_in_the_table():
    recipes = {"Objective", "Outputs", "ViewOutputs", "combine", "labels_objective", "method_of", "student", "views"}
    assert set(CASES) == set(methods.__all__) - recipes


def test_a_state_is_made_of_kinds_and_counts_steps(compiled):
    case, state = compiled.case, compiled.state
    assert isinstance(case.method, Method)
    assert nodes(state, Learner)
    assert state.step.dtype == jnp.int32 and state.step == 0
    shapes = jax.eval_shape(case.method.init, KEY, case.batch, case.given)  # how a saved State is restored
    assert jax.tree.structure(shapes) == jax.tree.structure(state)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(shapes)] == [(x.shape, x.dtype) for x in jax.tree.leaves(state)]
    assert all(x.size for x in jax.tree.leaves(state))  # empty arrays cannot be saved


def test_steps_keep_the_form_of_the_state_in_one_trace(compiled):
    case, state, step = compiled.case, compiled.state, compiled.step
    form = lambda tree: [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]  # noqa: E731
    metrics = []
    new = state
    for k in range(3):
        new, logged = step(new, case.batch, jax.random.key(k))
        metrics.append(logged)
        assert jax.tree.structure(new) == jax.tree.structure(state) and form(new) == form(state)
        assert new.step == k + 1
    assert len(compiled.traces) == 1
    assert all(jnp.shape(v) == () and np.isfinite(v) for logged in metrics for v in logged.values())
    assert len({tuple(sorted(logged)) for logged in metrics}) == 1


def test_frozen_bits_stay_and_trained_bits_move(compiled):
    case, state, step = compiled.case, compiled.state, compiled.step
    new, _ = step(state, case.batch, KEY)
    assert len(nodes(state, Frozen)) == len(case.given)
    assert equal(nodes(new, Frozen), nodes(state, Frozen)) and equal(nodes(new, Frozen), list(case.given.values()))
    before, after = kernels(case.moved(state)), kernels(case.moved(new))
    assert before and all(not np.array_equal(a, b) for a, b in zip(after, before, strict=True))
    still = kernels(case.still(state))
    assert equal(still, kernels(case.still(new)))
    trained = sum(len(kernels(x.params)) for x in nodes(state, Learner) + nodes(state, Follower))
    assert trained == len(before) + len(still)  # the case has named all of them


def test_the_same_key_gives_the_same_bits(compiled):
    case, state, step = compiled.case, compiled.state, compiled.step
    first, again, other = (step(state, case.batch, jax.random.key(k)) for k in (1, 1, 2))
    assert equal(first, again)
    assert equal(first, other) == (not case.noisy)
    assert not equal(case.moved(compiled.init(KEY, case.batch, case.given)), case.moved(state))


def test_the_loss_falls(compiled):
    case, state, step = compiled.case, compiled.state, compiled.step
    values = []
    for k in range(20):
        state, metrics = step(state, case.batch, jax.random.key(k))
        values.append(float(metrics[case.falls]))
    assert np.mean(values[-3:]) < 0.9 * np.mean(values[:3])


def test_weights_name_the_networks_of_predict_and_then_all_others(compiled):
    case, state = compiled.case, compiled.state
    x = jnp.asarray(np.random.default_rng(3).uniform(size=(6, 8, 8, 1)), jnp.float32)
    weights, order = case.method.weights(state), []
    assert list(weights) == [*case.nets, *case.beside]
    assert all(jax.tree.leaves(params) for params, _ in weights.values())

    @jax.jit
    def predictions(state, weights, x):
        outputs = case.method.predict(state, x)
        order.extend(outputs)  # what leaves jit comes back sorted
        alone = {name: net.apply(*weights[name], x, train=False)[0] for name, net in case.nets.items()}
        return outputs, alone, case.method.predict(state, x[:3])

    outputs, alone, rows = predictions(state, weights, x)
    assert order == list(case.nets)
    for name, taps in alone.items():
        close({tap: outputs[name][tap] for tap in taps}, taps, atol=1e-5)
    close(rows, jax.tree.map(lambda a: a[:3], outputs), atol=1e-5)  # evaluation mode: rows do not see each other


def test_needs_are_what_init_reads(compiled):
    case = compiled.case
    assert set(case.method.needs) == set(case.given)
    for name in case.method.needs:
        with pytest.raises(InputError, match=name):
            jax.eval_shape(case.method.init, KEY, case.batch, {k: v for k, v in case.given.items() if k != name})
    jax.eval_shape(case.method.init, KEY, case.batch, case.given | {"another": Frozen({}, {})})


def test_donating_what_moves_leaves_the_teacher_alive(compiled):
    case, state = compiled.case, compiled.state
    expected, _ = compiled.step(state, case.batch, KEY)
    moving, frozen = split(copied(state))
    new, _ = compiled.donating(moving, frozen, case.batch, KEY)
    assert all(x.is_deleted() for x in jax.tree.leaves(moving))
    assert not any(x.is_deleted() for x in jax.tree.leaves(frozen))
    assert equal(join(new, frozen), expected)


def mesh():
    return jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))


def sharded(compiled):
    """The batch lies over eight devices."""
    everywhere, rows = NamedSharding(mesh(), P()), NamedSharding(mesh(), P("data"))
    return jax.jit(compiled.case.method.step, in_shardings=(everywhere, rows, everywhere), out_shardings=everywhere)


def shard_map(compiled):
    """Each of eight devices has its rows, and a name for all of them."""
    return jax.jit(jax.shard_map(compiled.mapped.step, mesh=mesh(), in_specs=(P(), P("data"), P()), out_specs=P()))


def vmap(compiled):
    """As inside `pmap`: gradients have rules other than those of `shard_map`."""
    step = jax.vmap(compiled.mapped.step, in_axes=(None, 0, None), out_axes=(None, None), axis_name="data")
    return jax.jit(lambda state, batch, key: step(state, jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch), key))


@pytest.mark.parametrize("over", [sharded, shard_map, vmap])
def test_a_step_over_devices_is_the_same_step(compiled, over):
    """Batch norm and the terms whose rows see each other are global, and made rows are keyed by their global number."""
    case, state = compiled.case, compiled.state
    expected, metrics = compiled.step(state, case.batch, KEY)
    new, logged = over(compiled)(state, case.batch, KEY)
    assert over is vmap or jax.tree.leaves(new)[0].sharding.device_set == set(jax.devices())
    close(new, expected, rtol=1e-6, atol=case.rounding)
    close(logged, metrics, rtol=1e-6, atol=1e-5)


# Methods whose rows see each other in a loss, and one of each recipe.
RUN_ON_EXPLICIT_AXES = {"byol", "simclr", "swav", "cc", "crd", "dafl", "dist", "kd", "mlkd", "pkt", "rkd", "sp", "supervised"}


def test_a_step_on_explicit_axes_is_the_same_step(compiled):
    """What `jax.make_mesh` makes where nothing else is said: State, metrics and rows lie where they are said to."""
    case, first, step = compiled.case, compiled.state, compiled.step
    whole, rows = (NamedSharding(jax.make_mesh((8,), ("data",)), spec) for spec in (P(), P("data")))
    state, batch, key, given = jax.device_put((first, case.batch, KEY, case.given), (whole, rows, whole, whole))
    lies = lambda tree, place: all(x.sharding.is_equivalent_to(place, x.ndim) for x in jax.tree.leaves(tree))  # noqa: E731

    traced = [
        (case.method.init, (key, batch, given), whole),
        (case.method.step, (state, batch, key), whole),
        (case.method.predict, (state, jax.device_put(images(), rows)), rows),
    ]
    for function, args, place in traced:
        assert lies(jax.jit(function).trace(*args).out_info, NamedSharding(place.mesh.abstract_mesh, place.spec))
    if compiled.name in RUN_ON_EXPLICIT_AXES:
        new, logged = jax.jit(case.method.step)(state, batch, key)
        assert lies((new, logged), whole)
        expected, metrics = step(first, case.batch, KEY)
        close(new, expected, rtol=1e-6, atol=case.rounding)
        close(logged, metrics, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("make", [supervised, kd, partial(dml, nets=(without_batch_norm(), without_batch_norm(7)))])
def test_micro_batches_equal_the_whole(make):
    options = {} if isinstance(make, partial) else {"net": without_batch_norm()}
    whole = make(**options)
    expected, metrics = jax.jit(whole.method.step)(start(whole), whole.batch, KEY)
    micro = make(**options, micro=4)
    new, logged = jax.jit(micro.method.step)(start(micro), micro.batch, KEY)
    close(new, expected, rtol=1e-6, atol=1e-6)
    close(logged, metrics, atol=1e-6)


@pytest.mark.parametrize("make", [supervised, kd, dml])
def test_micro_batches_that_do_not_divide_the_batch_are_refused(make):
    case = make(micro=3)
    with pytest.raises(InputError, match=r"micro=3 .* must divide the rows of a batch, \[16\]"):
        jax.eval_shape(case.method.step, jax.eval_shape(case.method.init, KEY, case.batch, case.given), case.batch, KEY)


@pytest.mark.parametrize("make", [CASES["byol"], CASES["dafl"]])
def test_methods_whose_rows_see_each_other_take_no_micro_batches(make):
    with pytest.raises(TypeError, match="micro"):
        make(micro=2)
