import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError, Net, batch_norms, normalised
from kdjax.models import conv_net, ensemble, normalised_weights, pooled_together

IMAGES = jax.random.uniform(jax.random.key(1), (3, 4, 4, 1))
NETS = [normalised(conv_net((2,), 4), 0.5, 0.25), conv_net((3, 2), 4)]


def started(net):
    return net.init(jax.random.key(0), IMAGES)


def alone(net, k):
    params, stats = started(net)
    return NETS[k].apply(params[k], stats[k], IMAGES, train=False)[0]


@pytest.mark.parametrize(("weights", "share"), [(None, (0.5, 0.5)), ((3, 1), (0.75, 0.25))])
def test_logits_are_the_weighted_mean_of_logits_or_of_probabilities(weights, share):
    net = ensemble(NETS, weights=weights)
    each = [np.asarray(alone(net, k)["logits"]) for k in range(2)]
    taps, _ = net.apply(*started(net), IMAGES, train=False)
    np.testing.assert_allclose(taps["logits"], share[0] * each[0] + share[1] * each[1], rtol=1e-5, atol=1e-6)
    taps, _ = ensemble(NETS, weights=weights, combine="probabilities").apply(*started(net), IMAGES, train=False)
    mixed = sum(w * jax.nn.softmax(z) for w, z in zip(share, each, strict=True))
    np.testing.assert_allclose(jnp.exp(taps["logits"]), mixed, rtol=1e-5)


def test_each_net_keeps_its_taps_its_weights_and_its_normalisation():
    net = ensemble(NETS)
    params, stats = started(net)
    taps, new = net.apply(params, stats, IMAGES, train=True)
    for k, one in enumerate(NETS):
        own, changed = one.apply(params[k], stats[k], IMAGES, train=True)
        for name, x in own.items():
            named = f"norm/{k}/{name.removeprefix('norm/')}" if name.startswith("norm/") else f"teacher{k}/{name}"
            np.testing.assert_allclose(taps[named], x, atol=1e-6)
        np.testing.assert_allclose(
            *(jnp.concatenate([x.ravel() for x in jax.tree.leaves(s)]) for s in (new[k], changed)), atol=1e-6
        )
    apart = [batch_norms(net.apply(params[k], stats[k], IMAGES, train=True)[0], stats[k]) for k, net in enumerate(NETS)]
    assert len(apart[1]) == 2
    for found, wanted in zip(batch_norms(taps, stats), [*apart[0], *apart[1]], strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, wanted)


def test_equal_nets_begin_and_draw_apart():
    def apply(params, stats, x, *, train, key=None):
        return {"drawn": jax.random.normal(key)}, stats

    net = ensemble([Net(lambda key, x: (jax.random.normal(key), {}), apply)] * 2)
    params, stats = started(net)
    taps, _ = net.apply(params, stats, IMAGES, train=True, key=jax.random.key(2))
    assert params[0] != params[1] and taps["teacher0/drawn"] != taps["teacher1/drawn"]


def test_encoders_have_no_logits_together():
    net = ensemble([conv_net((2,), None), conv_net((2,), 4)])
    taps, _ = net.apply(*started(net), IMAGES, train=False)
    assert "logits" not in taps and "teacher1/logits" in taps


def test_a_specification_holds_the_nets():
    small = {"name": "conv_net", "widths": [2], "classes": 4}
    specification = {"name": "ensemble", "nets": [small, small | {"mean": [0.5], "std": [2.0]}], "weights": [1, 3]}
    net = models.build(json.loads(json.dumps(specification)))
    params, stats = started(net)
    first, second = (
        models.build(one).apply(params[k], stats[k], IMAGES, train=False)[0] for k, one in enumerate(specification["nets"])
    )
    taps, _ = net.apply(params, stats, IMAGES, train=False)
    np.testing.assert_allclose(taps["logits"], first["logits"] / 4 + 3 * second["logits"] / 4, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weights", [(1,), (1, 2, 3), (1, -1), (0, 0)])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(InputError, match=r"^weights=.* expected 2 numbers of at least 0, not all 0"):
        normalised_weights(2, weights)


def test_no_nets_and_another_combination_are_refused():
    with pytest.raises(InputError, match="nets=0"):
        ensemble([])
    with pytest.raises(InputError, match="combine='votes'"):
        ensemble(NETS, combine="votes")


def test_pooled_features_of_all_stand_in_a_row():
    net = pooled_together(ensemble(NETS))
    params, stats = started(net)
    taps, _ = net.apply(params, stats, IMAGES, train=False)
    apart = [one.apply(params[k], stats[k], IMAGES, train=False)[0]["pooled"] for k, one in enumerate(NETS)]
    np.testing.assert_allclose(taps["pooled"], jnp.concatenate(apart, -1), atol=1e-6)
    alone, weights = pooled_together(NETS[0]), started(NETS[0])
    jax.tree.map(
        np.testing.assert_array_equal,
        *(one.apply(*weights, IMAGES, train=False)[0] for one in (alone, NETS[0])),
    )
