import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax_modules import (
    KEY,
    Averaging,
    Block,
    Blocks,
    Counting,
    Deterministic,
    DropoutNet,
    Field,
    NNXFlags,
    NNXNet,
    NNXSwitched,
    OwnNorm,
    Pair,
    Plain,
    Unusual,
    X,
    acts_in_training_only,
    dense,
    differ,
    mode,
    same,
)

from kdjax import core


@pytest.mark.parametrize("remat", [False, True])
def test_linen_statistics_move_in_training_only(remat):
    net = core.from_linen(Blocks(remat))
    params, stats = net.init(KEY, X)
    taps, same_stats = net.apply(params, stats, X, train=False)
    same(same_stats, stats)
    _, new = jax.jit(lambda p, s: net.apply(p, s, X, train=True))(params, stats)
    inputs = dense(params["a"]["dense"], X)
    same(new["batch_stats"]["a"]["bn"]["mean"], 0.1 * inputs.mean(0), atol=1e-6)
    same(new["batch_stats"]["a"]["bn"]["var"], 0.9 + 0.1 * inputs.var(0), atol=1e-6)
    assert jax.tree.structure(new) == jax.tree.structure(stats) and set(taps) == {"hidden", "logits", "norm/a/bn", "norm/b/bn"}


def test_every_collection_but_params_is_a_statistic_that_only_training_may_write():
    net = core.from_linen(Counting())
    params, stats = net.init(KEY, X)
    assert params == {} and stats["counters"]["calls"] == 0
    assert net.apply({}, stats, X, train=True)[1]["counters"]["calls"] == 1
    assert net.apply({}, stats, X, train=False)[1]["counters"]["calls"] == 0


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("remat", [False, True])
def test_the_inputs_of_batch_norms_are_taps(remat, train):
    net = core.from_linen(Blocks(remat))
    params, stats = net.init(KEY, X)
    stats = jax.tree.map(lambda x: x + jax.random.uniform(KEY, x.shape), stats)

    @jax.jit
    def run(params):
        taps, _ = net.apply(params, stats, X, train=train)
        return jnp.sum(taps["norm/b/bn"] ** 2), taps

    (_, taps), gradient = jax.value_and_grad(run, has_aux=True)(params)
    (first, mean, variance), (second, *_) = core.batch_norms(taps, stats)
    same(first, dense(params["a"]["dense"], X), atol=1e-6)
    same(second, dense(params["b"]["dense"], taps["hidden"]), atol=1e-6)
    same((mean, variance), (stats["batch_stats"]["a"]["bn"]["mean"], stats["batch_stats"]["a"]["bn"]["var"]))
    assert np.abs(gradient["a"]["dense"]["kernel"]).max() > 1e-3  # the taps are part of the graph


def test_remat_computes_the_same_gradients():
    def gradient(remat):
        net = core.from_linen(Blocks(remat))
        params, stats = net.init(KEY, X)
        return jax.jit(jax.grad(lambda p: jnp.sum(net.apply(p, stats, X, train=True)[0]["logits"] ** 2)))(params)

    same(gradient(True), gradient(False), rtol=1e-5, atol=1e-6)


def test_the_key_seeds_linen_dropout():
    net = core.from_linen(DropoutNet())
    params, stats = net.init(KEY, X)
    assert params == {} and stats == {}
    dropped = [net.apply({}, {}, X, train=True, key=jax.random.key(k))[0]["logits"] for k in (1, 1, 2)]
    same(dropped[0], dropped[1])
    assert differ(dropped[0], dropped[2])
    assert set(np.unique(np.round(dropped[0] / X, 4))) == {0.0, 2.0}
    same(net.apply({}, {}, X, train=False)[0]["logits"], X)


class Streams(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {name: jax.random.normal(self.make_rng(name), x.shape) for name in ("dropout", "gumbel", "noise")}


def test_one_key_seeds_streams_of_any_name_each_its_own():
    net = core.from_linen(Streams())
    one, again, other = (net.apply({}, {}, X, train=True, key=jax.random.key(k))[0] for k in (1, 1, 2))
    same(one, again)
    drawn = [*one.values(), *other.values()]
    assert len({np.asarray(x).tobytes() for x in drawn}) == len(drawn) == 6


@pytest.mark.parametrize("train", [False, True])
def test_one_array_is_logits_and_the_flag_may_be_absent(train):
    net = core.from_linen(Plain())
    params, stats = net.init(KEY, X)
    taps, new = net.apply(params, stats, X, train=train)
    same(taps, {"logits": X @ params["Dense_0"]["kernel"]}, atol=1e-6)
    assert new == stats == {}


@pytest.mark.parametrize(
    "net",
    [
        core.from_linen(Deterministic()),
        core.from_linen(Averaging()),
        core.from_linen(Field()),
        core.from_linen(Field(training=True)),
        core.from_linen(Unusual(), train=mode),
        core.from_nnx(lambda rngs: NNXSwitched(rngs)),
        core.from_nnx(lambda rngs: NNXFlags(rngs)),
    ],
    ids=["deterministic", "use_running_average", "field", "field that is set", "a function", "nnx", "nnx attribute"],
)
def test_the_train_switch_is_found_by_its_usual_names(net):
    acts_in_training_only(net)


def test_a_layer_that_was_told_on_building_is_told_again():
    for layer in (nn.BatchNorm(use_running_average=True, momentum=0.9), nn.BatchNorm(use_running_average=False, momentum=0.9)):
        net = core.from_linen(layer)
        params, stats = net.init(KEY, X)
        assert differ(net.apply(params, stats, X, train=True)[1], stats) and not differ(
            net.apply(params, stats, X, train=False)[1], stats
        )


@pytest.mark.parametrize(
    ("module", "held"),
    [
        (Unusual(), "BatchNorm 'bn'"),
        (nn.Sequential([nn.Dense(2), nn.Dropout(0.5, deterministic=True)]), "Dropout 'layers_1'"),
        (nn.Sequential([nn.MultiHeadDotProductAttention(1, dropout_rate=0.1, deterministic=True)]), "MultiHeadDotProductAttention"),
        (OwnNorm(), "batch_stats"),
    ],
    ids=["batch norm", "dropout", "attention", "another norm"],
)
def test_a_module_that_acts_otherwise_in_training_needs_a_switch(module, held):
    stays = core.from_linen(module, train=lambda on: {})
    params, stats = stays.init(KEY, X)
    net = core.from_linen(module)
    calls = [lambda: net.init(KEY, X), *(lambda on=on: net.apply(params, stats, X, train=on) for on in (False, True))]
    for call in calls:
        with pytest.raises(
            core.InputError, match=f"^{type(module).__name__} holds {held}.* has no train switch: expected .*deterministic"
        ):
            call()
    same(stays.apply(params, stats, X, train=True)[0], stays.apply(params, stats, X, train=False)[0])


def test_dropout_of_nothing_needs_no_switch():
    net = core.from_linen(nn.Sequential([nn.Dropout(0.0, deterministic=True)]))
    same(net.apply(*net.init(KEY, X), X, train=True)[0]["logits"], X)


@pytest.mark.parametrize(
    "bridge", [lambda train: core.from_linen(Plain(), train=train), lambda train: core.from_nnx(NNXNet, train=train)]
)
@pytest.mark.parametrize("train", [True, lambda on: on, lambda: {}])
def test_a_switch_is_a_function_to_options(bridge, train):
    with pytest.raises(core.InputError, match=r"^train=.*: expected a function such as lambda on: \{'deterministic': not on\}"):
        bridge(train)


def test_batch_norm_in_training_sees_more_than_one_row():
    for net in (core.from_linen(Block()), core.from_nnx(NNXNet)):
        params, stats = net.init(KEY, X[:1])
        net.apply(params, stats, X[:1], train=False)
        with pytest.raises(
            core.InputError, match=r"^batch norm 'bn' in training is given 1 row.*expected 2 or more on each device"
        ):
            jax.eval_shape(lambda p, s, net=net: net.apply(p, s, X[:1], train=True, key=KEY), params, stats)


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_of_all_devices_count_where_statistics_are_shared(rows):
    net = core.from_linen(nn.BatchNorm(axis_name="data"))
    params, stats = net.init(KEY, X)

    def apply():
        return jax.vmap(lambda x: net.apply(params, stats, x, train=True)[0]["logits"], axis_name="data")(X[:rows, None])

    if rows == 2:
        same(apply()[:, 0].mean(0), jnp.zeros(3), atol=1e-5)
    else:
        with pytest.raises(core.InputError, match=r"1 row.*expected 2 or more on all devices together"):
            apply()


def test_taps_of_a_linen_module_that_is_left_as_it_is():
    net = core.from_linen(Pair(), layers=("second/output", "first"))
    params, stats = net.init(KEY, (X, X))
    apply = jax.jit(lambda stats, key: net.apply(params, stats, (X, X), train=True, key=key))
    taps, new = apply(stats, KEY)
    again, _ = apply(new, KEY)
    other, _ = apply(new, jax.random.key(1))
    assert new == stats == {}
    wanted = {"logits", "states/0", "states/1", "first", "second/output"}
    wanted |= {f"{part}/{name}" for part in ("first", "second") for name in ("hidden", "twice/0", "twice/1")}
    assert set(taps) == wanted
    same(again, taps)
    same(taps["first"], taps["states/0"])
    same(taps["second/output"], dense(params["second"]["output"], taps["first"]), atol=1e-5)
    same((taps["second/hidden"], taps["second/twice/0"]), (taps["second/output"], 0 * taps["second/output"]))
    noise = taps["first"] - nn.relu(taps["first/hidden"])
    assert differ(other["first"], taps["first"]) and not np.allclose(noise, taps["states/1"] - nn.relu(taps["second/hidden"]))


def test_other_outputs_and_layers_are_refused_or_read():
    class Extras(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(x), {"extra": x}

    net = core.from_linen(Extras())
    params, stats = net.init(KEY, X)
    with pytest.raises(core.InputError, match=r"^a module returned a tuple of 2: expected .* taps=lambda out"):
        net.apply(params, stats, X, train=False)
    read = core.from_linen(Extras(), taps=lambda out: {"logits": out[0], **out[1]})
    assert set(read.apply(params, stats, X, train=False)[0]) == {"logits", "extra"}
    with pytest.raises(core.InputError, match=r"^layers='Dense_1' is not accepted: Extras calls no layer"):
        core.from_linen(Extras(), layers=("Dense_1",)).apply(params, stats, X, train=False)
