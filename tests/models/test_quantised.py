"""Kernels in fewer bytes, against the same in NumPy."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import conv_net
from kdjax.models.quantised import Int8, dequantise, megabytes, quantise, quantised

NET = conv_net((3, 4), classes=5)
IMAGES = jax.random.uniform(jax.random.key(1), (2, 8, 8, 2))


@pytest.fixture(scope="module")
def weights():
    params, stats = NET.init(jax.random.key(0), IMAGES)
    params["stage2_conv"]["kernel"] = params["stage2_conv"]["kernel"].at[..., 1].set(0)  # a channel without a scale
    return params, stats


def test_int8_is_the_nearest_multiple_of_each_channels_scale(weights):
    w = np.asarray(weights[0]["stage2_conv"]["kernel"])
    found = quantise(weights[0], "int8")["stage2_conv"]["kernel"]
    largest = np.abs(w).reshape(-1, w.shape[-1]).max(0).astype(np.float64)
    expected = np.rint(w / np.where(largest > 0, largest / 127, 1))
    np.testing.assert_array_equal(found.values, expected)
    assert found.values.dtype == np.int8 and np.abs(found.values).max() == 127 and found.scales.shape == (1, 1, 1, 4)
    back = np.asarray(dequantise(found), np.float64)
    assert (np.abs(back - w) <= largest / 254 * 1.001).all() and (back[..., 1] == 0).all()


def test_bfloat16_is_that_of_numpy(weights):
    found = quantise(weights[0], "bfloat16")["stage1_conv"]["kernel"]
    w = np.asarray(weights[0]["stage1_conv"]["kernel"])
    np.testing.assert_array_equal(found, w.astype(ml_dtypes.bfloat16))
    np.testing.assert_array_equal(dequantise(found), w.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_only_kernels_in_front_of_the_classifier_are_quantised(weights, precision):
    found = quantise(weights[0], precision)
    kind = Int8 if precision == "int8" else jax.Array
    kernels = [found[f"stage{k}_conv"]["kernel"] for k in (1, 2)]
    assert all(isinstance(w, kind) for w in kernels)
    whole = [w.dtype for w in jax.tree.leaves(found) if w.dtype == jnp.float32]
    assert len(whole) == len(jax.tree.leaves(weights[0])) - 2 + (2 if precision == "int8" else 0)
    np.testing.assert_array_equal(found["classifier"]["kernel"], weights[0]["classifier"]["kernel"])


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.02), ("int8", 0.03)])
def test_a_quantised_net_answers_as_the_net_of_dequantised_weights(weights, precision, tolerance):
    net, kept = quantised(NET, precision), quantise(weights[0], precision)
    logits = net.apply(kept, weights[1], IMAGES, train=False)[0]["logits"]
    same = NET.apply(dequantise(kept), weights[1], IMAGES, train=False)[0]["logits"]
    whole = NET.apply(*weights, IMAGES, train=False)[0]["logits"]
    np.testing.assert_array_equal(logits, same)
    far = float(jnp.abs(logits - whole).max() / jnp.abs(whole).max())
    assert 0 < far < tolerance
    shapes = jax.eval_shape(net.init, jax.random.key(0), IMAGES)[0]
    assert jax.tree.map(lambda w: (w.shape, w.dtype), shapes) == jax.tree.map(lambda w: (w.shape, w.dtype), kept)


def test_what_is_saved_is_counted():
    params = {"conv": {"kernel": jnp.ones((3, 3, 16, 32)), "bias": jnp.ones(32)}}
    found = [round(1e6 * megabytes(quantise(params, precision))) for precision in ("float32", "bfloat16", "int8")]
    assert found == [4 * (4608 + 32), 2 * 4608 + 4 * 32, 4608 + 4 * 32 + 4 * 32]


def test_float32_changes_nothing_and_others_are_refused(weights):
    assert quantised(NET, "float32") is NET and quantise(weights[0], "float32")["classifier"] is not None
    jax.tree.map(np.testing.assert_array_equal, quantise(weights[0], "float32"), weights[0])
    with pytest.raises(InputError, match="precision='int4' is not accepted: expected 'float32' or 'bfloat16' or 'int8'"):
        quantised(NET, "int4")
