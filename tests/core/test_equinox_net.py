"""The bridge from Equinox, where that is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import core

eqx = pytest.importorskip("equinox")
KEY = jax.random.key(0)
X = jax.random.normal(KEY, (6, 3))


class Small(eqx.Module):
    inside: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    table: jax.Array

    def __init__(self, key):
        self.inside = eqx.nn.Linear(3, 4, key=key)
        self.norm = eqx.nn.BatchNorm(4, axis_name="batch", mode="batch")
        self.dropout = eqx.nn.Dropout(0.5)
        self.table = jnp.arange(4)

    def __call__(self, x, state, *, key=None):
        hidden, state = self.norm(self.inside(x), state)
        return {"pooled": hidden, "logits": self.dropout(hidden, key=key) * self.table}, state


def test_a_module_without_state_is_its_own_vmap():
    net = core.from_equinox(lambda key: eqx.nn.MLP(3, 2, 8, 1, key=key))
    params, stats = net.init(KEY, X)
    assert set(params) == {f"layers/{k}/{name}" for k in (0, 1) for name in ("weight", "bias")} and stats == {}
    taps, _ = jax.jit(lambda p: net.apply(p, {}, X, train=True, key=KEY))(params)
    np.testing.assert_allclose(taps["logits"], jax.vmap(eqx.nn.MLP(3, 2, 8, 1, key=KEY))(X), atol=1e-6)
    slope = jax.grad(lambda p: jnp.sum(net.apply(p, {}, X, train=False)[0]["logits"]))(params)
    np.testing.assert_allclose(slope["layers/1/bias"], [6.0, 6.0])


def test_state_and_keys():
    net = core.from_equinox(eqx.nn.make_with_state(Small))
    params, stats = net.init(KEY, X)
    assert set(params) == {"inside/weight", "inside/bias", "norm/weight", "norm/bias"} and stats["table"].dtype == jnp.int32
    model, state = eqx.nn.make_with_state(Small)(KEY)
    wanted, _ = jax.vmap(lambda x, k: model(x, state, key=k), axis_name="batch", out_axes=(0, None))(X, core.row_keys(KEY, 6))
    taps, new = jax.jit(lambda p, s: net.apply(p, s, X, train=True, key=KEY))(params, stats)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), dict(taps), wanted)
    assert set(new) == set(stats) and any(not np.array_equal(new[name], stats[name]) for name in stats)
    still, same = net.apply(params, new, X, train=False)
    assert same is new and not np.allclose(still["logits"], taps["logits"])
    again, _ = net.apply(params, new, X, train=True, key=KEY)
    np.testing.assert_allclose(again["logits"], taps["logits"], atol=1e-5)


def test_rows_keep_their_keys_over_devices():
    def two(axis_name):
        return core.from_equinox(lambda key: eqx.nn.Dropout(0.5), axis_name=axis_name)

    whole = two(None).apply({}, {}, X, train=True, key=KEY)[0]["logits"]
    halves = jax.vmap(lambda x: two("d").apply({}, {}, x, train=True, key=KEY)[0]["logits"], axis_name="d")(X.reshape(2, 3, 3))
    np.testing.assert_array_equal(halves.reshape(6, 3), whole)
