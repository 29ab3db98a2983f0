"""A net that answers by a linear layer each what several teachers answer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close
from tiny_nets import frozen, labelled_images, small

from kdjax.core import Frozen
from kdjax.methods import recipes
from kdjax.methods.offline.rich import rich_objective
from kdjax.models import ensemble

KEY = jax.random.key(5)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("count", [1, 3])
def test_the_loss_is_the_sum_over_teachers_each_through_its_own_layer(count):
    teachers, net = [small(width=4 + k) for k in range(count)], small(width=5)
    each = [frozen(one, seed=k) for k, one in enumerate(teachers)]
    whole, given = teachers[0], each[0]
    if count > 1:
        whole = ensemble(teachers)
        given = Frozen(tuple(one.params for one in each), tuple(one.stats for one in each), "of a test")
    method = recipes.student(net, optax.sgd(0.1), rich_objective(temperature=2.0, weight=0.5), teacher=whole)
    batch = labelled_images()
    state = jax.jit(method.init)(jax.random.key(0), batch, {"teacher": given})
    new, metrics = jax.jit(method.step)(state, batch, KEY)
    pooled = net.apply(state.learner.params["student"], state.learner.stats["student"], batch["image"], train=True)[0]["pooled"]
    heads, wanted = state.learner.params["adapter"], 0.0
    assert set(heads) == {f"teacher{k}" for k in range(count)}
    for k, (one, held) in enumerate(zip(teachers, each, strict=True)):
        z = np.float64(one.apply(held.params, held.stats, batch["image"], train=False)[0]["logits"])
        layer = {name: np.float64(x) for name, x in heads[f"teacher{k}"]["classifier"].items()}
        p, q = softmax(z / 2), softmax((np.float64(pooled) @ layer["kernel"] + layer["bias"]) / 2)
        wanted += 4 * np.mean(np.sum(p * np.log(p / q), -1))
    np.testing.assert_allclose(metrics["distillation"], wanted, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], wanted / 2, rtol=1e-4)
    assert all(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (heads, new.learner.params["adapter"])), strict=True))
    close(new.given, state.given)


def test_layers_of_equal_teachers_begin_apart():
    one = frozen(small())
    held = Frozen((one.params,) * 2, (one.stats,) * 2, "of a test")
    method = recipes.student(small(width=5), optax.sgd(0.1), rich_objective(), teacher=ensemble([small(), small()]))
    heads = method.init(jax.random.key(0), labelled_images(), {"teacher": held}).learner.params["adapter"]
    assert jnp.any(heads["teacher0"]["classifier"]["kernel"] != heads["teacher1"]["classifier"]["kernel"])
