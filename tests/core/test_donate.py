import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import core, methods, models

KEY = jax.random.key(0)
NET = models.conv_net((2,), 3)
BATCH = {"image": jnp.linspace(0, 1, 4 * 16).reshape(4, 4, 4, 1), "label": jnp.arange(4) % 3}


@pytest.fixture(scope="module")
def distilled():
    method = methods.kd(NET, NET, optax.sgd(0.1))
    teacher = core.Frozen(*core.jit_fast_compile(NET.init)(KEY, BATCH["image"]))
    return method, teacher, core.jit_fast_compile(method.init)(KEY, BATCH, {"teacher": teacher})


def test_everything_but_the_frozen_is_given_away(distilled):
    method, teacher, state = distilled
    state = jax.tree.map(jnp.copy, state)._replace(given={"teacher": teacher})
    update = core.donating(method.step)
    expected, _ = jax.jit(method.step)(state, BATCH, KEY)
    new, metrics = update(state, BATCH, KEY)
    assert all(x.is_deleted() for x in jax.tree.leaves(core.split(state)[0]))
    assert not any(x.is_deleted() for x in jax.tree.leaves(teacher))
    assert new.given["teacher"].params["classifier"]["kernel"] is teacher.params["classifier"]["kernel"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new, expected)
    assert metrics["loss"] > 0 and update(new, BATCH, KEY)[0].step == 2


def test_an_array_that_stands_twice_is_copied(distilled):
    """A student that starts from its teacher's own arrays, and a follower from its learner's."""
    _, teacher, _ = distilled
    bias = teacher.params["classifier"]["bias"]
    state = {"learner": {"w": bias}, "follower": {"w": jnp.ones(3)}, "teacher": teacher}
    state["again"] = state["follower"]["w"]

    update = core.donating(lambda state, batch, key: (jax.tree.map(lambda x: x + batch, state), {}))
    new, _ = update(state, 1.0, KEY)
    assert not bias.is_deleted() and new["teacher"].params["classifier"]["bias"] is bias
    assert new["follower"]["w"].tolist() == new["again"].tolist() == [2.0] * 3


def test_a_step_of_parts_is_the_step(distilled):
    method, _, state = distilled
    moving, frozen = core.split(state)
    moved, out = jax.eval_shape(core.on_parts(method.step), moving, frozen, BATCH, KEY)
    new, metrics = jax.eval_shape(method.step, state, BATCH, KEY)
    assert jax.tree.structure(core.join(moved, frozen)) == jax.tree.structure(new) and set(out) == set(metrics)
