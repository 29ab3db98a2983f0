"""The average of what a method trains."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import core, methods

KEY = jax.random.key(0)
BATCH = {"image": jax.random.normal(KEY, (8, 3)), "label": jnp.array([0, 1, 1, 0, 1, 1, 0, 1])}


def net(scale=1.0):
    def init(key, x):
        return {"w": scale * jax.random.normal(key, (3, 2))}, {"mean": jnp.zeros(()), "calls": jnp.int32(0)}

    def apply(params, stats, x, *, train, key=None):
        new = {"mean": jnp.mean(x @ params["w"]), "calls": stats["calls"] + 1}
        return {"logits": x @ params["w"] + stats["mean"]}, new if train else stats

    return core.Net(init, apply)


def trained(decay, steps=3):
    """The State after some steps, the parameters after each, and the method."""
    method = core.averaged(methods.kd(net(), net(2.0), optax.sgd(0.5)), decay)
    state = method.init(KEY, BATCH, {"teacher": core.Frozen(*net(2.0).init(jax.random.key(1), BATCH["image"]))})
    step, seen = jax.jit(method.step), [state]
    for _ in range(steps):
        seen.append(step(seen[-1], BATCH, KEY)[0])
    return method, seen


@pytest.mark.parametrize("decay", [0.9, lambda step: jnp.minimum(0.9, (1 + step) / (10 + step))])
def test_predict_and_weights_are_those_of_the_average(decay):
    method, states = trained(decay)
    own = [s.inner.learner for s in states]
    params, mean = (np.asarray(x, np.float64) for x in (own[0].params["student"]["w"], own[0].stats["student"]["mean"]))
    for k, learner in enumerate(own[1:]):
        d = 0.9 if decay == 0.9 else min(0.9, (1 + k) / (10 + k))
        params = d * params + (1 - d) * np.asarray(learner.params["student"]["w"])
        mean = d * mean + (1 - d) * np.asarray(learner.stats["student"]["mean"])
    found = method.weights(states[-1])
    assert list(found) == ["student", "teacher", "online_student"]  # the teacher is not trained
    np.testing.assert_allclose(found["student"][0]["w"], params, atol=1e-6)
    np.testing.assert_allclose(found["student"][1]["mean"], mean, atol=1e-6)
    assert found["student"][1]["calls"] == 3 and found["online_student"] == method.weights(states[-1])["online_student"]
    shown = method.predict(states[-1], BATCH["image"])["student"]["logits"]
    np.testing.assert_allclose(shown, BATCH["image"] @ params + mean, atol=1e-5)
    assert states[-1].step == 3


def test_without_memory_it_is_the_method_itself():
    method, states = trained(0.0)
    np.testing.assert_array_equal(method.weights(states[-1])["student"][0]["w"], states[-1].inner.learner.params["student"]["w"])


def test_another_trainer_moves_the_average_too():
    method, states = trained(0.9, 1)
    params = core.learner_of(states[0]).params
    (_, (kept, _)), gradient = jax.value_and_grad(method.loss, has_aux=True)(params, states[0], BATCH, KEY)
    new = method.update(states[0], jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient), kept)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new.averages, states[1].averages)


def test_a_decay_above_1_is_refused():
    with pytest.raises(core.InputError, match=r"^decay=2 is not accepted"):
        core.averaged(methods.supervised(net(), optax.sgd(0.1)), 2)


@pytest.mark.parametrize(("start", "every"), [(2, 1), (1, 2), (0, 1)])
def test_a_running_mean_is_that_of_its_snapshots(start, every):
    method, states = trained(core.running_mean(start, every), steps=6)
    weights = [np.asarray(s.inner.learner.params["student"]["w"], np.float64) for s in states]
    for done, state in enumerate(states):
        found = method.weights(state)["student"][0]["w"]
        taken = weights[start : done + 1 : every]
        np.testing.assert_allclose(found, np.mean(taken, 0) if taken else weights[done], atol=1e-6)


def test_the_mean_of_one_snapshot_is_that_snapshot_to_the_bit():
    method, states = trained(core.running_mean(3, 5), steps=5)
    once = states[3].inner.learner
    for state in states[3:]:
        params, stats = method.weights(state)["student"]
        np.testing.assert_array_equal(params["w"], once.params["student"]["w"])
        np.testing.assert_array_equal(stats["mean"], once.stats["student"]["mean"])


def test_steps_that_are_none_are_refused():
    with pytest.raises(core.InputError, match=r"^start=-1 is not accepted"):
        core.running_mean(-1)
    with pytest.raises(core.InputError, match=r"^every=0 is not accepted"):
        core.running_mean(1, 0)
