"""The bridge from NNX."""

import jax
import numpy as np
import pytest
from flax import nnx
from flax_modules import KEY, Block, Deterministic, NNXNet, X, acts_in_training_only, differ, same

from kdjax import core


def test_a_linen_module_inside_nnx_is_refused_without_a_function():
    def make(rngs):
        return nnx.bridge.ToNNX(Deterministic(), rngs).lazy_init(X)

    with pytest.raises(core.InputError, match=r"^ToNNX holds a Linen module and has no train switch"):
        core.from_nnx(make).init(KEY, X)
    told = core.from_nnx(make, train=lambda on: {"deterministic": not on, "mutable": ["batch_stats"] if on else False})
    acts_in_training_only(told)


def test_it_equals_linen():
    net = core.from_nnx(NNXNet)
    params, stats = net.init(KEY, X)
    assert jax.tree.map(type, stats) == {"bn": {"mean": type(X), "var": type(X)}}
    assert set(params) == {"layers", "bn"} and type(params["layers"][0]["kernel"]) is type(X)

    stats = jax.tree.map(lambda x: x + jax.random.uniform(KEY, x.shape), stats)
    block = core.from_linen(Block())
    layer = params["layers"][0]
    linen = {"dense": layer, "bn": params["bn"]}, {"batch_stats": {"bn": stats["bn"]}}
    for train in (True, False):
        taps, new = jax.jit(lambda p, s, k, train=train: net.apply(p, s, X, train=train, key=k))(params, stats, KEY)
        expected, expected_new = block.apply(*linen, X, train=train)
        same(taps["hidden"], expected["logits"], atol=1e-5)
        same(new["bn"], expected_new["batch_stats"]["bn"], atol=1e-6)
        assert differ(new, stats) == train
    same(taps["logits"], taps["hidden"] @ params["layers"][1]["kernel"], atol=1e-5)


def test_the_key_seeds_dropout():
    net = core.from_nnx(NNXNet)
    params, stats = net.init(KEY, X)
    apply = jax.jit(lambda key: net.apply(params, stats, X, train=True, key=key))
    (a, stats_a), (b, _), (c, stats_c) = (apply(jax.random.key(k)) for k in (1, 1, 2))
    same(a, b)
    same(stats_a, stats_c)
    assert differ(a["logits"], c["logits"]) and not differ(a["hidden"], c["hidden"])


def test_seeds_under_vmap():
    net = core.from_nnx(NNXNet)
    keys = jax.random.split(KEY, 3)
    params, stats = jax.vmap(lambda k: net.init(k, X))(keys)
    kernels = params["layers"][0]["kernel"]
    assert differ(kernels[0], kernels[1]) and differ(kernels[1], kernels[2])
    same(jax.tree.map(lambda x: x[2], params), net.init(keys[2], X)[0], atol=1e-6)
    taps, _ = jax.vmap(lambda p, s, k: net.apply(p, s, X, train=True, key=k))(params, stats, keys)
    alone, _ = net.apply(*jax.tree.map(lambda x: x[1], (params, stats)), X, train=True, key=keys[1])
    same(jax.tree.map(lambda x: x[1], taps), alone, atol=1e-5)


def test_arrays_are_not_shared_between_calls():
    net = core.from_nnx(NNXNet)
    params, stats = net.init(KEY, X)
    before = jax.tree.map(np.array, (params, stats))
    _, new = net.apply(params, stats, X, train=True, key=KEY)
    net.apply(params, new, X, train=True, key=KEY)
    same((params, stats), before)
    doubled = jax.tree.map(lambda x: 2 * x, params)
    assert differ(*(net.apply(p, stats, X, train=False)[0] for p in (params, doubled)))


class Sowing(nnx.Module):
    def __init__(self, rngs):
        self.inside, self.norm = nnx.Linear(3, 2, rngs=rngs), nnx.BatchNorm(2, rngs=rngs)

    def __call__(self, x, y):
        hidden = self.inside(x)
        self.sow(nnx.Intermediate, "hidden", hidden)
        return self.norm(hidden) + y


def test_what_is_sown_is_a_tap_at_every_call_and_two_inputs_are_two_arguments():
    net = core.from_nnx(Sowing)
    params, stats = net.init(KEY, (X, X))
    for _ in range(2):
        taps, stats = net.apply(params, stats, (X, X[:, :2]), train=True)
    assert set(taps) == {"hidden", "logits"} and jax.tree.structure(stats) == jax.tree.structure(net.init(KEY, X)[1])
    same(taps["hidden"], X @ params["inside"]["kernel"], atol=1e-6)


def test_weights_of_a_trained_module():
    module = NNXNet(nnx.Rngs(5))
    module(X)  # moves the statistics
    module.eval()
    taps, _ = core.from_nnx(NNXNet).apply(*core.nnx_weights(module), X, train=False)
    same(taps, module(X), atol=1e-6)
