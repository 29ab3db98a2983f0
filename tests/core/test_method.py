"""What a Method reads from its State by name."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from kdjax import core


class State(NamedTuple):
    small: Any
    large: Any


def scaled(by):
    return core.Net(
        lambda key, x: (by, {}), lambda params, stats, x, *, train, key=None: ({"logits": params * x, "train": train}, stats)
    )


def test_networks_are_read_by_name_in_the_order_given():
    state = State(core.Learner(2.0, {"n": 1}, None), core.Frozen(3.0, {}))
    predict, weights = core.read_by_name(small=scaled(2.0), large=scaled(3.0))
    outputs = predict(state, jnp.float32(5.0))
    assert list(outputs) == list(weights(state)) == ["small", "large"]  # not by alphabet
    assert (outputs["large"]["logits"], outputs["small"]["logits"]) == (15.0, 10.0) and not outputs["small"]["train"]
    assert weights(state)["small"] == (2.0, {"n": 1})
