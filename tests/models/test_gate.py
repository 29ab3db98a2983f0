import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import gate, parameter_count

MAP = np.random.default_rng(0).normal(size=(6, 3, 3, 5)).astype(np.float32)


def test_shares_are_those_of_the_formula():
    net = gate(3)
    params, stats = net.init(jax.random.key(0), MAP)
    params["bn"] = {"scale": jnp.array([1.0, 2.0, 0.5]), "bias": jnp.array([0.1, -0.2, 0.3])}
    found, _ = net.apply(params, stats, MAP, train=True)
    z = MAP.mean((1, 2), dtype=np.float64) @ np.float64(params["linear"]["kernel"])
    z = (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) * np.float64(params["bn"]["scale"]) + np.float64(params["bn"]["bias"])
    e = np.exp(np.maximum(z, 0))
    np.testing.assert_allclose(found["shares"], e / e.sum(1, keepdims=True), rtol=1e-4)


def test_parameters():
    assert parameter_count(gate(3), MAP.shape) == 5 * 3 + 2 * 3


def test_no_count_is_refused():
    with pytest.raises(InputError, match=r"^count=0 is not accepted"):
        gate(0)
