"""Batch norm: numbers, dtypes, start."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.models import batch_norm


def test_statistics_of_bfloat16_inputs_are_float32():
    x = 3.0 + jax.random.normal(jax.random.key(0), (512, 4))
    layer = batch_norm(train=True, dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(1), x.astype(jnp.bfloat16))
    y, new = layer.apply(variables, x.astype(jnp.bfloat16), mutable=["batch_stats"])
    stats = new["batch_stats"]
    assert y.dtype == jnp.bfloat16
    assert stats["mean"].dtype == stats["var"].dtype == jnp.float32
    np.testing.assert_allclose(stats["mean"], 0.1 * np.mean(x, 0), rtol=2e-3)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * np.var(x, 0), rtol=2e-3)


@pytest.mark.parametrize(("options", "epsilon"), [({}, 1e-5), ({"epsilon": 0.8}, 0.8)])
def test_epsilon(options, epsilon):
    layer = batch_norm(train=True, **options)
    x = jnp.array([[1e-3], [-1e-3]])
    y, _ = layer.apply(layer.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    assert float(y[0, 0]) == pytest.approx(1e-3 / (1e-6 + epsilon) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_the_scale_starts(value):
    params = batch_norm(train=True, scale_init=nn.initializers.constant(value)).init(jax.random.key(0), jnp.ones((2, 3)))["params"]
    assert params["scale"].tolist() == [value] * 3
    assert params["bias"].tolist() == [0.0] * 3
