import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, start
from own_lessons import same_as_golden
from peer_lessons import KEY, divergence, handed_over, log_softmax, total
from tiny_nets import LABELS, small, staged

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.mutual import one as file
from kdjax.models import conv_net


def test_golden(golden, monkeypatch):
    """The last logits are those of the gated ensemble."""
    g = golden("one/cifar_one")
    options = {"temperature": g["hp_temperature"].item(), "warmup_epochs": int(g["hp_consistency_rampup"])}
    given = handed_over(monkeypatch, file, methods.one, 3, **options)

    def loss(logits):
        peers = [{"logits": z} for z in logits[:3]]
        return total(*given, peers, g["labels"], {"logits": logits[3]}, int(g["hp_epoch"]))

    same_as_golden(g, loss, "logits")


def test_equal_shares_make_the_ensemble_the_mean():
    case = CASES["one"]()
    state = start(case)
    gate = {**state.adapter.params, "bn": jax.tree.map(jnp.zeros_like, state.adapter.params["bn"])}
    state = state._replace(adapter=state.adapter.replace(params=gate))
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    found = case.method.weights(state)
    trained = [np.asarray(net.apply(*found[name], case.batch["image"], train=True)[0]["logits"]) for name, net in case.nets.items()]
    mean = np.mean(trained, axis=0)
    entropy = -log_softmax(mean)[np.arange(16), np.asarray(LABELS)].mean()
    np.testing.assert_allclose(metrics["together_cross_entropy"], entropy, rtol=1e-4)
    for k, z in enumerate(trained):
        np.testing.assert_allclose(metrics[f"peer{k}_imitation"], divergence(z, mean, 3.0), rtol=1e-3, atol=1e-7)
    shown = case.method.predict(state, case.batch["image"])
    np.testing.assert_allclose(shown["peer0"]["together"], (shown["peer0"]["logits"] + shown["peer1"]["logits"]) / 2, atol=1e-5)


def test_branches_share_all_but_the_last_stage_and_are_plain_nets():
    case = CASES["one"]()
    state, _ = jax.jit(case.method.step)(start(case), case.batch, KEY)
    found = case.method.weights(state)
    first, second = found["peer0"][0], found["peer1"][0]
    plain = jax.eval_shape(staged().init, KEY, case.batch["image"])[0]
    assert jax.tree.map(jnp.shape, first) == jax.tree.map(jnp.shape, plain)
    same = {name for name in first if all(jax.tree.leaves(jax.tree.map(np.array_equal, first[name], second[name])))}
    assert same == {"stage1_conv", "stage1_bn"} == set(state.trunk.params)
    assert set(state.peers[0].params) == {"stage2_conv", "stage2_bn", "classifier"}


def test_branches_start_from_weights_of_a_net():
    case = CASES["one"]()
    found = case.method.weights(start(case, 1))
    close(case.method.weights(case.method.init(KEY, case.batch, {}, **found)), found)


@pytest.mark.parametrize(
    ("nets", "words"),
    [
        ((small(), small()), "branches share what lies in front of the last stage, and this net has one"),
        ((staged(), staged(width=5)), "branches share what lies in front of the last stage, which differs"),
        ((staged(), conv_net((4, 6), 3)), "the peers have 4, 3 classes: expected as many of each"),
        ((staged(),), "peers=1 is not accepted: mutual learning takes at least 2"),
    ],
)
def test_nets_that_cannot_be_branches_are_refused(nets, words):
    with pytest.raises(InputError, match=f"^{words}"):
        method = methods.one(nets, optax.sgd(0.1), steps_per_epoch=1)
        jax.eval_shape(method.init, KEY, CASES["one"]().batch, {})


@pytest.mark.parametrize("options", [{"temperature": 0}, {"weight": -1}, {"warmup_epochs": -1}, {"steps_per_epoch": 0}])
def test_options_out_of_range_are_refused(options):
    [(name, value)] = options.items()
    with pytest.raises(InputError, match=f"^{name}={value} is not accepted"):
        methods.one((staged(),) * 2, optax.sgd(0.1), **{"steps_per_epoch": 1} | options)
