from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from tiny import assert_close, assert_same

from kdjax import methods, models
from kdjax.core import Follower, Frozen, InputError
from kdjax.train import members as members_of
from kdjax.train import over_members, resolve, stack, unstack

NET, TEACHER = models.conv_net((4,), 3), models.conv_net((4,), 3)
TX = optax.sgd(0.1, momentum=0.9)
BATCH = {
    "image": jax.random.uniform(jax.random.key(1), (6, 4, 4, 1)),
    "label": jnp.arange(6) % 3,
    "index": jnp.arange(6),
}
GIVEN = {"teacher": Frozen(*TEACHER.init(jax.random.key(9), BATCH["image"]), "teacher's digest")}
METHODS = {"supervised": methods.supervised(NET, TX), "kd": methods.kd(NET, TEACHER, TX)}


def singles(method, n=3):
    return [method.init(jax.random.key(i), BATCH, GIVEN) for i in range(n)]


@pytest.mark.parametrize("name", METHODS)
def test_map_and_vmap_equal_single_runs(name):
    method, key = METHODS[name], jax.random.key(5)
    step = jax.jit(method.step)
    alone, state = [], stack(singles(method))
    for one in singles(method):
        for _ in range(3):
            one, metrics = step(one, BATCH, key)
        alone.append((one, metrics))
    for how in ("map", "vmap"):
        lifted = jax.jit(over_members(method.step, how, state, False, False))
        together = state
        for _ in range(3):
            together, measured = lifted(together, BATCH, key)
        assert jax.tree.leaves(measured)[0].shape == (3,)
        for i, (one, (want, metrics)) in enumerate(zip(unstack(together), alone, strict=True)):
            assert_close(one, want, 1e-6)
            assert_close(members_of.member(measured, i), metrics, 1e-6)


def test_one_member_is_the_plain_step():
    method = METHODS["supervised"]
    state = stack(singles(method, 1))
    text = str(jax.make_jaxpr(over_members(method.step, "map", state, False, False))(state, BATCH, jax.random.key(0)))
    assert "scan" not in text and "while" not in text
    new, metrics = jax.jit(over_members(method.step, "map", state, False, False))(state, BATCH, jax.random.key(0))
    want, _ = jax.jit(method.step)(unstack(state)[0], BATCH, jax.random.key(0))
    assert_close(unstack(new)[0], want, 1e-6)
    assert metrics["loss"].shape == (1,)


@pytest.mark.parametrize("how", ["map", "vmap"])
def test_each_member_may_have_its_own_batch(how):
    def f(state, batch, factor):
        return state._replace(follower=Follower(state.follower.params + batch * factor, {})), jnp.sum(batch)

    state = stack([Small(Follower(jnp.float32(i), {}), jnp.int32(4)) for i in range(3)])
    new, out = over_members(f, how, state, True, False)(state, jnp.array([1.0, 2.0, 3.0]), jnp.float32(10.0))
    assert new.follower.params.tolist() == [10.0, 21.0, 32.0] and out.tolist() == [1.0, 2.0, 3.0] and new.step.shape == ()


class Small(NamedTuple):
    follower: Follower
    step: jax.Array


@pytest.mark.parametrize("how", ["map", "vmap"])
def test_the_counter_is_shared_so_a_branch_on_it_stays_one_branch(how):
    def f(state, batch):
        new = lax.cond(state.step < 1, lambda x: x + 1, lambda x: jnp.sin(x) * 2, state.follower.params)
        return Small(Follower(new, {}), state.step + 1), {}

    state = stack([Small(Follower(jnp.ones(3) * i, {}), jnp.int32(0)) for i in range(4)])
    assert state.step.shape == ()
    lifted = over_members(f, how, state, False)
    text = str(jax.make_jaxpr(lifted)(state, jnp.zeros(2)))
    assert "cond" in text and "select_n" not in text
    new, _ = lifted(state, jnp.zeros(2))
    assert new.step.shape == () and int(new.step) == 1
    np.testing.assert_array_equal(new.follower.params[:, 0], [1, 2, 3, 4])


@pytest.mark.parametrize("how", ["map", "vmap"])
def test_frozen_parts_are_neither_stacked_nor_copied(how):
    method = METHODS["kd"]
    state = stack(singles(method))
    assert_same(state.given["teacher"], GIVEN["teacher"])
    step = over_members(lambda state, batch: (state, {}), how, state, False)
    new, _ = step(state, BATCH)
    for a, b in zip(jax.tree.leaves(new.given["teacher"]), jax.tree.leaves(state.given["teacher"]), strict=True):
        assert a is b
    assert new.given["teacher"].source == "teacher's digest"


def test_stack_and_unstack_are_inverse():
    states = singles(METHODS["kd"])
    state = stack(states)
    assert jax.tree.leaves(state.learner)[0].shape[0] == 3 and state.step.shape == ()
    for one, want in zip(unstack(state), states, strict=True):
        assert_same(one, want)


def test_how_is_resolved():
    assert resolve("auto", 1) == "map" and resolve("auto", 5) == "map"  # on a CPU
    assert resolve("vmap", 1) == "vmap" and resolve("map", 5) == "map"
    with pytest.raises(InputError, match="members='loop' is not accepted"):
        resolve("loop", 2)


def test_predictions_come_from_every_member():
    method = METHODS["supervised"]
    state = stack(singles(method))
    found = over_members(lambda s: (None, method.predict(s, BATCH["image"])["network"]["logits"]), "map", state)(state)
    assert found[0] is None and found[1].shape == (3, 6, 3)
    assert_close(found[1][2], method.predict(unstack(state)[2], BATCH["image"])["network"]["logits"], 1e-6)
