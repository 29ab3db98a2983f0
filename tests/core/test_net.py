import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax_modules import KEY, SGD, Plain, X, same

from kdjax import core


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


def test_a_net_is_checked_where_it_is_made_and_called():
    def init(key, x):
        return {}, {}

    with pytest.raises(core.InputError, match="takes no 'train'"):
        core.Net(init, lambda params, stats, x: ({}, stats))
    plain = core.Net(init, lambda params, stats, x, *, train, key=None: x)
    for x, line in ((X, "an array of shape"), ((X, 1), "for its taps"), (None, "a NoneType"), ((1, 2, 3), "a tuple of 3")):
        with pytest.raises(core.InputError, match=line):
            plain._replace(init=init).apply({}, {}, x, train=False)
