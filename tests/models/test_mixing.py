"""Nets that mix their own maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError, jit_fast_compile, normalised
from kdjax.models.conv_net import halve

ROWS = 4
X = np.random.default_rng(0).random((ROWS, 8, 8, 1), np.float32)
PARTNER = np.array([2, 0, 3, 1])
NETS = {
    "resnet8": models.resnet8(5),
    "wrn_10_1": models.wrn(10, 1, 5),
    "normalised": normalised(models.conv_net((2, 3, 4), 5), 0.5, 0.25),
}


def told(share, behind, deepest):
    """Images with a share of each row behind a stage."""
    shares = np.ones((ROWS, deepest + 1), np.float32)
    shares[:, behind] = share
    return {"image": jnp.asarray(X), "partner": jnp.asarray(PARTNER), "share": jnp.asarray(shares)}


@pytest.mark.parametrize("name", NETS)
def test_without_a_share_of_its_own_a_row_is_its_partner(name):
    """Whatever the stage, since batch statistics are of the same rows."""
    net = NETS[name]
    params, stats = jit_fast_compile(net.init)(jax.random.key(0), jnp.asarray(X))
    outputs = jit_fast_compile(lambda x: models.mixing_inside(net).apply(params, stats, x, train=True)[0]["logits"])
    plain = outputs(jnp.asarray(X))
    for behind in range(3):
        np.testing.assert_allclose(outputs(told(0.0, behind, 2)), plain[PARTNER], atol=2e-5)
    np.testing.assert_allclose(outputs(told(1.0, 0, 2)), plain, atol=2e-5)


def test_the_rest_of_the_network_sees_the_mixture():
    """Behind the images it is a plain pass of mixed images; behind a stage the next stages by hand."""
    net, share = models.conv_net((2, 3), 5), np.array([0.3, 0.5, 1.0, 0.9], np.float32)
    params, stats = jit_fast_compile(net.init)(jax.random.key(0), jnp.asarray(X))
    apply = jit_fast_compile(lambda x: models.mixing_inside(net).apply(params, stats, x, train=True)[0]["logits"])
    lam = share[:, None, None, None]
    plain = jit_fast_compile(lambda x: net.apply(params, stats, jnp.asarray(x), train=True)[0])
    blended = lambda x: lam * np.asarray(x) + (1 - lam) * np.asarray(x)[PARTNER]  # noqa: E731
    np.testing.assert_allclose(apply(told(share, 0, 1)), plain(blended(X))["logits"], atol=1e-5)
    map_ = blended(halve(plain(X)["stage1"]))
    found = jax.lax.conv_general_dilated(
        jnp.asarray(map_), params["stage2_conv"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = np.asarray(found, np.float64)
    found = (found - found.mean((0, 1, 2))) / np.sqrt(found.var((0, 1, 2)) + 1e-5)  # the scale is 1 and the bias 0 at first
    last = params["classifier"]
    wanted = np.maximum(found, 0).mean((1, 2)) @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
    np.testing.assert_allclose(apply(told(share, 1, 1)), wanted, atol=1e-4)


def test_images_alone_pass_and_maps_in_front_of_a_mixture_are_not_given():
    net = models.conv_net((2, 3), 5)
    mixing = models.mixing_inside(net)
    params, stats = jit_fast_compile(mixing.init)(jax.random.key(0), jnp.asarray(X))
    taps = lambda x, train: jax.eval_shape(lambda: mixing.apply(params, stats, x, train=train)[0])  # noqa: E731
    assert "stage1" in taps(jnp.asarray(X), False) and "stage1" not in taps(told(0.5, 0, 1), True)


def test_partners_lie_on_other_devices_too():
    net = models.conv_net((2, 3), 5, axis_name="data")
    params, stats = jit_fast_compile(net.init)(jax.random.key(0), jnp.asarray(X))
    inside = told(0.4, 1, 1)

    def logits(net, axis_name):
        return lambda x: models.mixing_inside(net, axis_name=axis_name).apply(params, stats, x, train=True)[0]["logits"]

    whole = jit_fast_compile(logits(models.conv_net((2, 3), 5), None))(inside)
    halves = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), inside)
    parts = jit_fast_compile(jax.vmap(logits(net, "data"), axis_name="data"))(halves)
    np.testing.assert_allclose(parts.reshape(ROWS, 5), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (models.conv_net((2, 3), 5), "a net of 2 stages cannot be mixed behind stage 2: expected stage 1 at most"),
        (models.vit(4, 8, 1, 2, 5), "a net of 0 stages cannot be mixed behind stage 2: expected one whose layers are named"),
    ],
)
def test_a_net_with_too_few_stages_is_refused(net, said):
    params, stats = jit_fast_compile(net.init)(jax.random.key(0), jnp.asarray(X))
    with pytest.raises(InputError, match=said):
        jax.eval_shape(lambda: models.mixing_inside(net).apply(params, stats, told(0.5, 0, 2), train=True)[0])
