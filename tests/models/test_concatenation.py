import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError, Net, normalised
from kdjax.models import concatenated, conv_net

IMAGES = jax.random.uniform(jax.random.key(1), (3, 4, 4, 1))
NETS = [normalised(conv_net((2,), None), 0.5, 0.25), conv_net((3, 2), 4)]


def started(net):
    return net.init(jax.random.key(0), IMAGES)


@pytest.mark.parametrize("classes", [0, 5])
def test_features_in_a_row_under_one_linear_layer(classes):
    net = concatenated(NETS, classes)
    params, stats = started(net)
    taps, _ = net.apply(params, stats, IMAGES, train=False)
    each = [one.apply(params["nets"][k], stats["nets"][k], IMAGES, train=False)[0]["pooled"] for k, one in enumerate(NETS)]
    wanted = np.concatenate(each, 1)
    np.testing.assert_allclose(taps["pooled"], wanted, atol=1e-6)
    assert ("logits" in taps) == (classes > 0)  # not those of one of the nets
    if classes:
        layer = params["classifier"]["classifier"]
        np.testing.assert_allclose(
            taps["logits"], wanted @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_nets_neither_learn_nor_see_the_statistics_of_a_batch(frozen):
    net = concatenated(NETS, 5, frozen=frozen)
    params, stats = started(net)

    def loss(params):
        taps, new = net.apply(params, stats, IMAGES, train=True)
        return jnp.sum(taps["logits"] ** 2), new

    gradient, new = jax.grad(loss, has_aux=True)(params)
    moved = [bool(jnp.any(g != 0)) for g in jax.tree.leaves(gradient["nets"])]
    assert any(moved) != frozen and bool(jnp.any(gradient["classifier"]["classifier"]["kernel"] != 0))
    same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), new["nets"], stats["nets"])
    assert all(jax.tree.leaves(same)) == frozen


def test_a_specification_holds_the_nets():
    small = {"name": "conv_net", "widths": [2], "classes": 0}
    net = models.build(json.loads(json.dumps({"name": "concatenated", "nets": [small, small], "classes": 3})))
    taps, _ = net.apply(*started(net), IMAGES, train=False)
    assert taps["pooled"].shape == (3, 4) and taps["logits"].shape == (3, 3)


def test_nets_without_features_are_refused():
    plain = Net(lambda key, x: ({}, {}), lambda params, stats, x, *, train, key=None: ({"logits": x[:, 0, 0]}, stats))
    with pytest.raises(InputError, match="net 1 has no tap 'pooled'"):
        started(concatenated([conv_net((2,)), plain], 3))
