"""What a finished stage keeps beside its networks: all that evaluation reads, and no more."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import IMAGES, assert_same, linear, sgd, stage

from kdjax import methods
from kdjax.core import Follower, Frozen, InputError, Method
from kdjax.train.kept_state import beside_networks, networks, state_shapes, whole_state
from kdjax.train.members import unstack

SEEN = {"image": jax.ShapeDtypeStruct((2, 4, 4, 1), np.uint8)}
KEY = jax.random.key(0)
TEACHER = Frozen(*linear().init(KEY, jnp.zeros((1, 4, 4, 1))), "digest")


class Banked(NamedTuple):
    """A network, what is added to its logits, and a queue that evaluation does not read."""

    network: Follower
    shift: jax.Array
    queue: jax.Array
    teacher: Any


def banked(merged=False):
    net = linear()

    def init(key, batch, given):
        return Banked(Follower(*net.init(key, batch["image"])), jax.random.normal(key, (3,)), jnp.zeros((9, 3)), given["teacher"])

    def predict(state, inputs):
        taps, _ = net.apply(state.network.params, {}, inputs, train=False)
        return {"network": {"logits": taps["logits"] + state.shift[None]}}

    def weights(state):
        kernel, bias = state.network.params
        return {"network": ([kernel, 2 * bias] if merged else [kernel, bias], {})}

    return stage(Method(init, lambda state, batch, key: (state, {}), predict, weights, ("teacher",)))


def states(one, given):
    batch = {"image": jnp.asarray(IMAGES[:2] / 255, jnp.float32), "label": jnp.zeros(2, int), "index": jnp.arange(2)}
    return [one.method.init(jax.random.key(i), batch, given) for i in range(2)]


def stacked(one, given):
    return jax.tree.map(lambda *xs: np.stack(xs), *(networks(one, state) for state in states(one, given)))


@pytest.mark.parametrize(
    ("one", "numbers"),
    [
        (stage(methods.kd(linear(), linear(), sgd())), []),
        (banked(), [2]),
        (banked(merged=True), [0, 1, 2]),  # where networks are computed, none of the State is known by them
        (banked()._replace(samples=lambda state, key: None), [2, 3]),
    ],
    ids=["kd", "banked", "merged", "samples"],
)
def test_a_state_that_was_kept_is_evaluated_as_before(one, numbers):
    given = {"teacher": TEACHER}
    beside = beside_networks(one, states(one, given), SEEN)
    assert [int(name) for name in beside] == numbers
    again = whole_state(one, given, stacked(one, given), beside, SEEN)
    for found, wanted in zip(unstack(again), states(one, given), strict=True):
        assert jax.tree.structure(found) == jax.tree.structure(wanted)
        assert_same(*(one.method.predict(state, IMAGES[:2]) for state in (found, wanted)))
        assert_same(*(networks(one, state) for state in (found, wanted)))


def test_what_does_not_fit_is_refused():
    one, given = banked(), {"teacher": TEACHER}
    beside = beside_networks(one, states(one, given), SEEN)
    for wrong in ({}, {"00002": beside["00002"][:, :2]}, {**beside, "00003": beside["00002"]}):
        with pytest.raises(InputError, match="what was kept of its state is not what evaluation reads"):
            whole_state(one, given, stacked(one, given), wrong, SEEN)
    assert jax.tree.leaves(state_shapes(one, given))[2].shape == (3,)
