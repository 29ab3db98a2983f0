"""Sharpness-aware minimisation as an optimiser of `learn`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.core import InputError, Learner, ascend, by_part, freeze, learn, skip_zero_gradients, with_norms

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 3)).astype(np.float32), RNG.normal(size=(8, 2)).astype(np.float32)
W = {"a": RNG.normal(size=(3, 4)).astype(np.float32), "b": RNG.normal(size=(4, 2)).astype(np.float32)}


def loss(params, rows):
    x, y = rows
    return jnp.mean((x @ params["a"] @ params["b"] - y) ** 2), ({"seen": jnp.sum(params["a"])}, {})


def after(tx, steps=3, loss=loss, **options):
    learner = Learner(jax.tree.map(jnp.asarray, W), {"seen": jnp.float32(0)}, tx.init(W))
    step = jax.jit(lambda learner: learn(loss, learner, tx, (X, Y), **options)[0])
    for _ in range(steps):
        learner = step(learner)
    return learner


def gradient(w):
    """By hand, in float64."""
    error = 2 * (X.astype(float) @ w["a"] @ w["b"] - Y) / Y.size
    return {"a": X.T @ error @ w["b"].T, "b": (X @ w["a"]).T @ error}


def by_hand(radius, decay=0.0, momentum=0.9, steps=3):
    w = {k: v.astype(float) for k, v in W.items()}
    m = {k: 0 * v for k, v in w.items()}
    for _ in range(steps):
        g = gradient(w)
        length = np.sqrt(sum((v**2).sum() for v in g.values()))
        g = gradient({k: w[k] + radius * g[k] / length for k in w})
        m = {k: momentum * m[k] + g[k] + decay * w[k] for k in w}
        w = {k: w[k] - 0.05 * m[k] for k in w}
    return w


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), found, expected)


def test_it_steps_down_the_gradient_further_up():
    """Decay is that of the weights themselves, and so are the statistics."""
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.05, 0.9))
    found = after(ascend(tx, 0.3))
    close(found.params, by_hand(0.3, 0.1))
    np.testing.assert_allclose(found.stats["seen"], by_hand(0.3, 0.1, steps=2)["a"].sum(), rtol=1e-5)
    assert not np.allclose(found.params["a"], after(tx).params["a"], atol=1e-3)


def test_radius_0_is_the_optimiser_itself():
    for tx in (optax.sgd(0.05, 0.9), optax.adam(0.1)):
        jax.tree.map(np.testing.assert_array_equal, after(ascend(tx, 0.0)), after(tx))
        ascend(tx, 0.0).update(W, tx.init(W), W)  # without the loss: there is no second pass


def test_slices_and_devices_go_the_same_way():
    tx = ascend(optax.sgd(0.05, 0.9), 0.3)
    close(after(tx, micro=2).params, by_hand(0.3))
    mapped = jax.vmap(lambda w, x, y: learn(loss, w, tx, (x, y), axis_name="data")[0].params, (None, 0, 0), axis_name="data")
    learner = Learner(jax.tree.map(jnp.asarray, W), {"seen": jnp.float32(0)}, tx.init(W))
    found = mapped(learner, X.reshape(2, 4, 3), Y.reshape(2, 4, 2))
    close(jax.tree.map(lambda a: a[1], found), by_hand(0.3, steps=1))


def test_other_wrappers_see_it_through():
    close(after(with_norms(skip_zero_gradients(ascend(optax.sgd(0.05, 0.9), 0.3)))).params, by_hand(0.3))


def test_where_there_is_no_gradient_it_stays():
    flat = lambda params, rows: (0.0 * jnp.sum(params["a"]), ({"seen": jnp.float32(0)}, {}))  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, after(ascend(optax.sgd(0.1), 0.3), loss=flat).params, W)


def test_wrong_options_are_refused():
    with pytest.raises(InputError, match=r"^ascent=-0.1 is not accepted: expected a radius, 0 or more"):
        ascend(optax.sgd(0.1), -0.1)
    up = ascend(optax.sgd(0.1), 0.1)
    with pytest.raises(InputError, match="needs the loss: expected value_fn"):
        up.update(W, up.init(W), W)
    for part in (lambda: freeze(up, ["a"], 1), lambda: by_part(up), lambda: by_part(optax.sgd(0.1), a=up)):
        with pytest.raises(InputError, match=r"an ascent is not accepted for a part of the parameters: expected ascent=0"):
            part()
