"""A method of one loss, whose optimiser may be somebody else's."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax import core

KEY = jax.random.key(0)
BATCH = {"image": jax.random.normal(KEY, (8, 3)), "label": jnp.array([0, 1, -1, 0, 1, 1, -1, 1])}


class State(NamedTuple):
    learner: core.Learner
    slow: Any
    step: jax.Array


def method(tx, axis_name=None, micro=1):
    """Logistic regression that counts its rows, followed by its own average."""

    def init(key, batch, given):
        params = {"w": jnp.zeros((3, 2))}
        return State(core.Learner(params, {"seen": jnp.zeros(())}, tx.init(params)), params, jnp.int32(0))

    def loss(params, state, batch, key):
        rows = optax.softmax_cross_entropy_with_integer_labels(batch["image"] @ params["w"], jnp.maximum(batch["label"], 0))
        stats = {"seen": state.learner.stats["seen"] + jnp.mean(batch["image"])}
        return jnp.mean(rows * batch["label_weight"]), (stats, {"rows": jnp.mean(rows)})

    def follow(state, learner):
        return State(learner, core.ema(state.slow, learner.params, 0.5), state.step + 1), {"tau": 0.5}

    return core.descent(init, loss, follow, None, None, tx=tx, axis_name=axis_name, micro=micro)


def outside(one, tx, state, average=lambda gradient: gradient, batch=BATCH):
    """A step as another trainer takes it."""
    params = core.learner_of(state).params
    (_, (kept, _)), gradient = jax.value_and_grad(one.loss, has_aux=True)(params, state, batch, KEY)
    updates, _ = tx.update(average(gradient), tx.init(params), params)
    return one.update(state, optax.apply_updates(params, updates), kept)


def test_a_step_in_two_halves_is_the_step():
    one = method(optax.sgd(0.3))
    state = one.init(KEY, BATCH, {})
    whole, metrics = one.step(state, BATCH, KEY)
    halves = outside(one, optax.sgd(0.3), state)
    np.testing.assert_allclose(halves.learner.params["w"], whole.learner.params["w"], atol=1e-7)
    np.testing.assert_allclose(halves.slow["w"], 0.5 * whole.learner.params["w"], atol=1e-7)
    assert halves.learner.stats == whole.learner.stats and halves.step == whole.step == 1
    kept = np.asarray(BATCH["label"]) >= 0
    np.testing.assert_allclose(metrics["loss"], np.log(2), rtol=1e-6)  # the mean over the labelled rows
    wanted = np.zeros((3, 2))
    for x, y in zip(np.asarray(BATCH["image"])[kept], np.asarray(BATCH["label"])[kept], strict=True):
        wanted -= 0.3 * np.outer(x, 0.5 - np.eye(2)[y]) / kept.sum()
    np.testing.assert_allclose(halves.learner.params["w"], wanted, atol=1e-6)
    assert set(metrics) == {"loss", "rows", "tau"}


@pytest.mark.parametrize("check_vma", [True, False])
def test_the_loss_under_a_mapped_axis_is_that_of_all_rows(check_vma):
    mesh, tx = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4]), optax.sgd(0.3)
    one = method(tx, "data")
    state = one.init(KEY, BATCH, {})

    def local(state, batch):
        return outside(one, tx, state, lambda gradient: core.pmean(gradient, "data"), batch)

    spread = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=check_vma))(state, BATCH)
    alone = jax.jit(lambda state: outside(method(tx), tx, state))(state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), spread, alone)


def test_the_loss_can_be_differentiated_on_an_explicit_mesh():
    mesh, tx = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4]), optax.sgd(0.3)
    one = method(tx)
    state = one.init(KEY, BATCH, {})
    placed = jax.device_put(state, NamedSharding(mesh, P())), jax.device_put(BATCH, NamedSharding(mesh, P("data")))
    spread = jax.jit(lambda state, batch: outside(one, tx, state, batch=batch))(*placed)
    np.testing.assert_allclose(spread.learner.params["w"], outside(one, tx, state).learner.params["w"], atol=1e-6)


def test_what_has_no_single_learner_or_no_optimiser_is_refused():
    with pytest.raises(core.InputError, match=r"^tx=0.1 is not accepted: expected an optimiser"):
        method(0.1)
    learner = core.Learner({}, {}, ())
    with pytest.raises(core.InputError, match="has 2 learners"):
        core.learner_of((learner, [learner]))
    assert core.learner_of({"a": learner, "b": core.Follower({}, {})}) is learner
    with pytest.raises(core.InputError, match="has no single loss"):
        core.Method(None.__init__, None, None, None).loss({}, {}, {}, KEY)
