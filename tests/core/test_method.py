"""What a Method reads from its State by name."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

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


def method():
    """What its functions see is what they give back."""
    return core.Method(
        lambda key, batch, given: batch, lambda state, batch, key: (batch, {}), lambda state, inputs: inputs, lambda state: state
    )


BYTES = np.full((2, 3, 3, 1), 51, np.uint8)


@pytest.mark.parametrize("changed", [lambda m: m, lambda m: m._replace(needs=("teacher",)), lambda m: core.Method(*m)])
def test_images_in_bytes_are_scaled_as_the_launcher_scales_them(changed):
    one = changed(method())
    batch = {"image": BYTES, "views": (BYTES, BYTES[:, :2]), "label": np.arange(2, dtype=np.uint8), "mask": BYTES}
    for seen in (one.init(None, batch, {"teacher": core.Frozen({}, {})}), one.step(None, batch, key=None)[0]):
        images = seen["image"], *seen["views"]
        assert all(x.dtype == np.float32 for x in images) and images[2].shape == (2, 2, 3, 1)
        np.testing.assert_allclose(np.concatenate([np.ravel(x) for x in images]), 0.2, rtol=1e-6)
        assert seen["label"] is batch["label"] and seen["mask"] is batch["mask"]
    assert batch["image"] is BYTES
    np.testing.assert_allclose(one.predict(None, BYTES), 0.2, rtol=1e-6)


def test_floats_are_not_touched_and_other_numbers_refused():
    one, image = method(), jnp.ones((1, 2, 2, 1), jnp.bfloat16)
    assert one.init(None, {"image": image}, {})["image"] is image and one.predict(None, image) is image
    for call in (lambda x: one.step(None, {"image": x}, None), lambda x: one.predict(None, x)):
        with pytest.raises(core.InputError, match=r"^image of dtype int32 is not accepted"):
            call(image.astype(jnp.int32))
