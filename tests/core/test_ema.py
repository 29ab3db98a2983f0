import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import core


def test_ema_is_the_weighted_mean_and_keeps_dtypes():
    old = {"a": jnp.array([1.0, -2.0]), "b": jnp.bfloat16(4.0)}
    new = {"a": jnp.array([3.0, 5.0]), "b": jnp.bfloat16(8.0)}
    moved = jax.jit(core.ema)(old, new, jnp.float32(0.75))
    np.testing.assert_allclose(moved["a"], 0.75 * np.array([1, -2.0]) + 0.25 * np.array([3, 5.0]), rtol=1e-6)
    assert moved["b"].dtype == jnp.bfloat16 and moved["b"] == 5.0


def test_ema_at_the_ends():
    old, new = jax.random.normal(jax.random.key(0), (2, 50))
    np.testing.assert_array_equal(core.ema(old, new, 1.0), old)
    np.testing.assert_allclose(core.ema(old, new, 0.0), new, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(core.ema(old, old, 0.3), old)


@pytest.mark.parametrize("base", [0.0, 0.97, 0.996])
def test_cosine_to_one(base):
    steps = 40
    tau = np.array([core.cosine_to_one(k, steps, base) for k in range(steps + 1)])
    k = np.arange(steps + 1)
    np.testing.assert_allclose(tau, 1 - (1 - base) * (np.cos(np.pi * k / steps) + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(tau[[0, -1]], [base, 1.0], atol=1e-7)
    assert np.all(np.diff(tau) >= 0)
    assert core.cosine_to_one(steps + 10, steps, base) == 1.0  # past the end it stays


def test_cosine_to_one_golden(golden):
    g = golden("byol_deepmind/schedules")
    tau = [core.cosine_to_one(step, int(g["hp_max_steps"]), float(g["hp_base_ema"])) for step in g["steps"]]
    np.testing.assert_allclose(tau, g["target_ema"], atol=1e-7)
