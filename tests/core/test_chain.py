import jax
import jax.numpy as jnp
import pytest
from flax_modules import KEY, Block, Blocks, DropoutNet, Plain, X, same

from kdjax import core


def test_chain_feeds_a_tap_and_names_the_norms_of_both():
    first, then = core.from_linen(Blocks()), core.from_linen(Block())
    net = core.chain(first=first, then=then, taps={"then": "hidden"})
    params, stats = net.init(KEY, X)
    taps, new = jax.jit(lambda p, s: net.apply(p, s, X, train=True))(params, stats)
    inner, inner_stats = first.apply(params["first"], stats["first"], X, train=True)
    outer, outer_stats = then.apply(params["then"], stats["then"], inner["hidden"], train=True)
    same({"hidden": taps["hidden"], "logits": taps["logits"]}, {"hidden": inner["hidden"], "logits": outer["logits"]}, atol=1e-5)
    same(new, {"first": inner_stats, "then": outer_stats}, atol=1e-5)
    layers = core.batch_norms(taps, new)
    expected = [*core.batch_norms(inner, inner_stats), *core.batch_norms(outer, outer_stats)]
    assert len(layers) == 3
    same(layers, expected, atol=1e-5)
    twice = core.chain(first=net, then=core.from_linen(Plain()), taps={"then": "logits"})
    params, stats = twice.init(KEY, X)
    assert len(core.batch_norms(twice.apply(params, stats, X, train=True)[0], stats)) == 3


def test_a_chain_of_three_keeps_the_taps_of_each():
    def plus(number, name):
        return core.Net(lambda key, x: ({}, {}), lambda params, stats, x, *, train, key=None: ({name: x + number}, stats))

    nets = {"encoder": plus(1, "pooled"), "projector": plus(10, "embedding"), "predictor": plus(100, "embedding")}
    x = jnp.zeros(2)
    taps, _ = core.chain(**nets).apply(*core.chain(**nets).init(KEY, x), x, train=False)
    assert {name: float(value[0]) for name, value in taps.items()} == {
        "pooled": 1, "embedding": 111, "projector/embedding": 11, "predictor/embedding": 111,
    }  # fmt: skip
    taps, _ = core.chain(**nets, taps={"predictor": "pooled"}).apply(dict.fromkeys(nets), dict.fromkeys(nets), x, train=False)
    assert taps["predictor/embedding"][0] == 101
    with pytest.raises(core.InputError, match=r"net 'projector' sees tap 'stage9' .* accepted: pooled"):
        core.chain(**nets, taps={"projector": "stage9"}).init(KEY, x)


def test_chain_splits_its_key():
    dropout = core.from_linen(DropoutNet())
    net = core.chain(first=dropout, then=dropout, taps={"then": "logits"})
    params, stats = net.init(KEY, X)
    ones = jnp.ones((64, 64))
    out = net.apply(params, stats, ones, train=True, key=KEY)[0]["logits"]
    assert abs(float(jnp.mean(out == 4.0)) - 0.25) < 0.05  # two independent masks, not one mask twice
    same(net.apply(params, stats, X, train=False)[0]["logits"], X)


def scaled(factor=1.0):
    """A family of nets over one parameter: `at(width=)` takes other multiples of it."""

    def apply(params, stats, x, *, train, key=None):
        return {"pooled": factor * params["w"] * x}, stats

    return core.Net(lambda key, x: ({"w": jnp.float32(2.0)}, {}), apply, lambda *, width: scaled(width))


def test_a_family_stays_one_in_a_row_and_behind_a_normalisation():
    plain = core.Net(lambda key, x: ({}, {}), lambda params, stats, x, *, train, key=None: ({"logits": x + 1}, stats))
    net = core.chain(first=core.normalised(scaled(), 1.0, 2.0), then=plain)
    x = jnp.array([[5.0]])
    params, stats = net.init(KEY, x)
    for width, wanted in ((1.0, 5.0), (0.5, 3.0)):
        assert net.at(width=width).apply(params, stats, x, train=False)[0]["logits"].item() == wanted
    assert net.at(width=0.5).at(width=1.0).apply(params, stats, x, train=False)[0]["logits"].item() == 5
    for alone in (plain, core.chain(first=plain), core.normalised(plain, 0.0, 1.0)):
        with pytest.raises(core.InputError, match=r"^net.at\(width=0.5, bits=4\) is not accepted: this net is no family"):
            alone.at(width=0.5, bits=4)
