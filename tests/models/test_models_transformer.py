import jax
import jax.numpy as jnp
import numpy as np

from kdjax.models.transformer import TransformerBlock, dense, norm

X = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 6)), jnp.float32)


def test_a_causal_block_is_the_plain_one_at_the_last_token():
    plain, causal = TransformerBlock(2), TransformerBlock(2, causal=True)
    weights = plain.init(jax.random.key(0), X, False)
    (a, _), (b, _) = plain.apply(weights, X, False), causal.apply(weights, X, False)
    np.testing.assert_allclose(a[:, -1], b[:, -1], atol=1e-6)
    alone, _ = plain.apply(weights, X[:, :1], False)
    np.testing.assert_allclose(b[:, :1], alone, atol=1e-6)


def test_layers():
    layer = dense(3, jnp.float32, "layer", use_bias=False)
    params = layer.init(jax.random.key(0), X)["params"]
    assert set(params) == {"kernel"} and np.std(params["kernel"]) < 0.05
    assert set(dense(3, jnp.float32, "layer").init(jax.random.key(0), X)["params"]) == {"kernel", "bias"}
    found, _ = norm(jnp.float32, "norm").init_with_output(jax.random.key(0), X)
    np.testing.assert_allclose(found, (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-6), atol=1e-5)
