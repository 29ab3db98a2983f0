import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from scipy.special import ndtr

from kdjax.models.gelu import gelu

X = np.concatenate([np.linspace(-6, 6, 25), [0.0, 1e-4, -1e-4, 30.0, -30.0, -1.0, 1.0]]).astype(np.float32)


def test_values_and_derivatives_are_those_of_the_definition():
    x = X.astype(np.float64)
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    first, second = jax.grad(gelu), jax.grad(jax.grad(gelu))
    np.testing.assert_allclose(jax.jit(gelu)(X), x * ndtr(x), rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(jax.jit(jax.vmap(first))(X), ndtr(x) + x * density, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.vmap(second))(X), (2 - x * x) * density, rtol=1e-5, atol=1e-30)


def test_values_are_those_of_jax_in_every_precision():
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jnp.asarray(X, dtype)
        found = gelu(x)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, jax.nn.gelu(x, approximate=False))


def test_rows_of_several_devices_have_the_same_gradient():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    gradient = jax.vmap(jax.grad(gelu))
    over = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=P("data"), out_specs=P("data")))
    np.testing.assert_allclose(over(X), jax.jit(gradient)(X), rtol=1e-6)
