import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from kdjax import core

X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
KEY = jax.random.key(0)
SGD = optax.sgd(0.1)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(4, name="dense")(x)
        return nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name="bn")(x))


class Blocks(nn.Module):
    """Two blocks and a layer; with `remat` the blocks are computed again on the way back."""

    remat: bool = False

    @nn.compact
    def __call__(self, x, train):
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        hidden = block(name="a")(x, train)
        return {"hidden": hidden, "logits": nn.Dense(2, name="head")(block(name="b")(hidden, train))}


class DropoutNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dropout(0.5, deterministic=not train)(x)


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"][None]


class Counting(nn.Module):
    @nn.compact
    def __call__(self, x):
        calls = self.variable("counters", "calls", lambda: jnp.int32(0))
        if self.is_mutable_collection("counters") and not self.is_initializing():
            calls.value += 1
        return x


class Deterministic(nn.Module):
    """Flax's own idiom, and Hugging Face's: evaluation by default."""

    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.BatchNorm(use_running_average=deterministic, momentum=0.9, name="bn")(x)
        return nn.Dropout(0.5, deterministic=deterministic)(x)


class Averaging(nn.Module):
    """The names of two layers; one of the switches has to be given."""

    @nn.compact
    def __call__(self, x, *, use_running_average, is_training=False):
        x = nn.BatchNorm(momentum=0.9, name="bn")(x, use_running_average)
        return nn.Dropout(0.5)(x, deterministic=not is_training)


class Field(nn.Module):
    training: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=not self.training, momentum=0.9, name="bn")(x)
        return nn.Dropout(0.5, deterministic=not self.training)(x)


class Unusual(nn.Module):
    @nn.compact
    def __call__(self, x, mode="test"):
        x = nn.BatchNorm(use_running_average=mode == "test", momentum=0.9, name="bn")(x)
        return nn.Dropout(0.5, deterministic=mode == "test")(x)


class OwnNorm(nn.Module):
    """A norm that is not Flax's own; it has no switch."""

    @nn.compact
    def __call__(self, x):
        return x - self.variable("batch_stats", "mean", jnp.zeros, 3).value[None]


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)])
        self.bn = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        hidden = jax.nn.relu(self.bn(self.layers[0](x)))
        return {"hidden": hidden, "logits": self.layers[1](self.dropout(hidden))}


def same(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **({"rtol": 0} | tolerance)), a, b)


def differ(a, b):
    return any(not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


# Linen


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


@pytest.mark.parametrize("train", [False, True])
def test_one_array_is_logits_and_the_flag_may_be_absent(train):
    net = core.from_linen(Plain())
    params, stats = net.init(KEY, X)
    taps, new = net.apply(params, stats, X, train=train)
    same(taps, {"logits": X @ params["Dense_0"]["kernel"]}, atol=1e-6)
    assert new == stats == {}


def mode(train):
    return {"mode": "train" if train else "test"}


def acts_in_training_only(net, key=jax.random.key(3)):
    params, stats = net.init(KEY, X)
    apply = jax.jit(lambda train: net.apply(params, stats, X, train=train, key=key), static_argnums=0)
    (trained, new), (tested, old) = apply(True), apply(False)
    means = lambda tree: next(x for path, x in jax.tree_util.tree_leaves_with_path(tree) if "mean" in str(path))  # noqa: E731
    same(means(new), 0.1 * X.mean(0), atol=1e-6)
    same(old, stats)
    dropped = trained["logits"] == 0
    assert 0 < dropped.sum() < dropped.size and not (tested["logits"] == 0).any()


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


# NNX


class NNXSwitched(nnx.Module):
    """An argument that overrules the mode of the module."""

    def __init__(self, rngs):
        self.bn = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, deterministic=True):
        return self.dropout(self.bn(x, use_running_average=deterministic), deterministic=deterministic)


class NNXFlags(NNXSwitched):
    """A flag of its own."""

    def __init__(self, rngs):
        super().__init__(rngs)
        self.training = False

    def __call__(self, x):
        return super().__call__(x, not self.training)


# Pairs of functions


def haiku_like():
    """What `hk.transform_with_state` returns: two functions with the order of arguments of its own."""

    def init(key, x, train):
        return {"linear": {"w": jax.random.normal(key, (x.shape[-1], 2))}}, {"counter": {"calls": jnp.int32(0)}}

    def apply(params, state, key, x, train):
        return x @ params["linear"]["w"], {"counter": {"calls": state["counter"]["calls"] + train}}

    return init, apply


def test_a_pair_of_functions_is_a_net():
    init, apply = haiku_like()

    def call(params, stats, x, *, train, key=None):
        out, stats = apply(params, stats, key, x, train)
        return {"logits": out}, stats

    net = core.Net(lambda key, x: init(key, x, True), call)
    learner = core.new_learner(KEY, net, SGD, X)

    def loss(params, x):
        taps, stats = net.apply(params, learner.stats, x, train=True)
        return jnp.mean(taps["logits"] ** 2), (stats, {})

    new, metrics = jax.jit(lambda learner: core.learn(loss, learner, SGD, X))(learner)
    assert new.stats["counter"]["calls"] == 1
    w = learner.params["linear"]["w"]
    same(new.params["linear"]["w"], w - 0.1 * X.T @ (X @ w) / len(X), atol=1e-6)
    same(metrics["loss"], jnp.mean((X @ w) ** 2), rtol=1e-6)


def test_normalised_sees_its_own_scale():
    plain = core.from_linen(Plain())
    net = core.normalised(plain, [0.5, 0.0, 1.0], [2.0, 1.0, 4.0])
    params, stats = net.init(KEY, X)
    scaled = (np.asarray(X) - [0.5, 0.0, 1.0]) / [2.0, 1.0, 4.0]
    same(net.apply(params, stats, X, train=False)[0], plain.apply(params, stats, jnp.float32(scaled), train=False)[0], atol=1e-6)
    same(params, plain.init(KEY, X)[0])
    one = core.normalised(plain, 0.5, 2.0)
    same(one.apply(params, stats, X, train=True)[0], plain.apply(params, stats, (X - 0.5) / 2, train=True)[0], atol=1e-6)


def test_normalised_scales_the_image_of_a_mapping():
    bare = core.Net(lambda key, x: ({}, {}), lambda params, stats, x, *, train, key=None: (x, stats))
    seen, _ = core.normalised(bare, 0.5, 2.0).apply({}, {}, {"image": X, "kept": jnp.arange(3)}, train=True)
    same(seen, {"image": (X - 0.5) / 2, "kept": jnp.arange(3)})


def test_a_net_without_batch_norm_has_no_layers():
    net = core.from_linen(Plain())
    params, stats = net.init(KEY, X)
    assert core.batch_norms(net.apply(params, stats, X, train=True)[0], stats) == []


class Sowing(nn.Module):
    @nn.compact
    def __call__(self, x):
        hidden = nn.Dense(3, name="output")(x)
        for k in range(2):
            self.sow("intermediates", "twice", k * hidden)
        self.sow("intermediates", "hidden", hidden)
        return nn.relu(hidden) + jax.random.normal(self.make_rng("noise"), hidden.shape)


class Pair(nn.Module):
    """Two inputs, and an output as Hugging Face's."""

    @nn.compact
    def __call__(self, x, y, deterministic=True):
        first = Sowing(name="first")(x)
        second = Sowing(name="second")(first)
        return {"logits": nn.Dropout(0.5)(first + y, deterministic=deterministic), "states": (first, second), "attentions": None}


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


def test_a_net_is_checked_where_it_is_made_and_called():
    def init(key, x):
        return {}, {}

    with pytest.raises(core.InputError, match="takes no 'train'"):
        core.Net(init, lambda params, stats, x: ({}, stats))
    plain = core.Net(init, lambda params, stats, x, *, train, key=None: x)
    for x, line in ((X, "an array of shape"), ((X, 1), "for its taps"), (None, "a NoneType"), ((1, 2, 3), "a tuple of 3")):
        with pytest.raises(core.InputError, match=line):
            plain._replace(init=init).apply({}, {}, x, train=False)
