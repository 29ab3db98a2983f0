"""Heads on the taps of a net."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import Net
from kdjax.models import attach, branched, branches, build, conv_net, shrink

CONV = {"name": "conv_net", "widths": [3, 4, 5]}


def test_attached_heads_see_the_taps_and_leave_the_net_alone(drawn):
    x = jax.random.uniform(jax.random.key(1), (2, 8, 8, 1))
    whole, net = branched(CONV, 4), conv_net((3, 4, 5), 4)
    params, stats = drawn(whole, x)
    taps, new = jax.jit(lambda x: whole.apply(params, stats, x, train=True))(x)
    alone, moved = jax.jit(lambda x: net.apply(params["net"], stats["net"], x, train=True))(x)
    np.testing.assert_allclose(taps["logits"], alone["logits"], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new["net"], moved)
    heads, _ = branches(CONV | {"classes": 4}).apply(params["heads"], stats["heads"], alone, train=True)
    np.testing.assert_allclose(taps["joint2"], heads["joint2"], atol=1e-4)


def test_specification_survives_json():
    specification = {"name": "branched", "net": {**CONV, "mean": [0.5], "std": [0.25]}, "classes": 3, "dtype": "bfloat16"}
    net = build(json.loads(json.dumps(specification)))
    taps = jax.eval_shape(
        lambda x: net.apply(*net.init(jax.random.key(0), x), x, train=False)[0], jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)
    )
    assert taps["stage1"].dtype == jnp.bfloat16 and taps["joint1"].dtype == jnp.float32
    assert {"classes", "dtype", "axis_name"} <= set(inspect.signature(branched).parameters)


def test_attach_takes_any_pair(drawn):
    heads = Net(lambda key, taps: ({}, {}), lambda p, s, taps, *, train, key=None: ({"twice": 2 * taps["pooled"]}, {}))
    net, x = attach(conv_net((2,), 3), heads), jnp.ones((1, 4, 4, 1))
    taps, _ = net.apply(*drawn(net, x), x, train=False)
    np.testing.assert_array_equal(taps["twice"], 2 * taps["pooled"])


def test_a_family_stays_one_with_heads_and_on_smaller_images():
    family = conv_net((2,), 3)._replace(at=lambda *, width: conv_net((width,), 3))
    net = attach(
        family, Net(lambda key, taps: ({}, {}), lambda p, s, taps, *, train, key=None: ({"mean": taps["stage1"].mean(-1)}, s))
    )
    wide = shrink(net, 2).at(width=5)
    shapes = jax.eval_shape(lambda x: wide.apply(*wide.init(jax.random.key(0), x), x, train=False)[0], jnp.zeros((2, 8, 8, 1)))
    assert shapes["stage1"].shape == (2, 4, 4, 5) and shapes["mean"].shape == (2, 4, 4)
