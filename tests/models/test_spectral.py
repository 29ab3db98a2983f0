"""Spectral norm against NumPy's singular values."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import from_linen, jit_fast_compile
from kdjax.models import SpectralNorm, conv2d


class Layer(nn.Module):
    """One layer under spectral norm."""

    layer: nn.Module

    @nn.compact
    def __call__(self, x, train):
        return SpectralNorm(self.layer, name="norm")(x, train)


LAYERS = {"linear": (nn.Dense(5), (2, 7)), "convolution": (conv2d(5, 3, bias=True), (2, 4, 4, 3))}


def largest(kernel):
    return np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), compute_uv=False)[0]


@pytest.mark.parametrize("name", LAYERS)
def test_many_steps_divide_by_the_largest_singular_value(name):
    layer, shape = LAYERS[name]
    x = jax.random.normal(jax.random.key(1), shape)
    net = from_linen(Layer(layer))
    params, stats = net.init(jax.random.key(0), x)
    step = jit_fast_compile(lambda stats: net.apply(params, stats, x, train=True)[1])
    for _ in range(60):
        stats = step(stats)
    ((inner, held),) = params.items()
    (u,) = jax.tree.leaves(stats)
    assert u.shape == (5,) and float(jnp.linalg.norm(u)) == pytest.approx(1, abs=1e-5)
    by_hand = {**held, "kernel": held["kernel"] / largest(held["kernel"]), "bias": held["bias"]}
    taps, kept = net.apply(params, stats, x, train=False)
    np.testing.assert_allclose(taps["logits"], layer.apply({"params": by_hand}, x), rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, kept, stats)
    assert inner in ("layer", "Dense_0", "Conv_0")


def test_one_step_by_hand():
    layer, shape = LAYERS["linear"]
    x = np.random.default_rng(0).normal(size=shape)
    net = from_linen(Layer(layer))
    params, stats = net.init(jax.random.key(0), x)
    (held,), (u,) = params.values(), jax.tree.leaves(stats)
    matrix = np.asarray(held["kernel"], np.float64).T
    v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
    new = matrix @ v / np.linalg.norm(matrix @ v)
    taps, moved = net.apply(params, stats, x, train=True)
    np.testing.assert_allclose(taps["logits"], x @ held["kernel"] / (new @ matrix @ v), rtol=1e-5)
    np.testing.assert_allclose(jax.tree.leaves(moved)[0], new, rtol=1e-5)
    taps, _ = net.apply(params, stats, x, train=False)
    np.testing.assert_allclose(taps["logits"], x @ held["kernel"] / (u @ matrix @ v), rtol=1e-5)


def test_the_gradient_flows_through_sigma_with_u_and_v_held():
    layer, shape = LAYERS["linear"]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    net = from_linen(Layer(layer))
    params, stats = net.init(jax.random.key(0), x)
    (name,), (held,), (u,) = params, params.values(), jax.tree.leaves(stats)

    def total(params):
        return jnp.sum(net.apply(params, stats, x, train=True)[0]["logits"])

    matrix = np.asarray(held["kernel"], np.float64)
    v = matrix @ u / np.linalg.norm(matrix @ u)
    u = v @ matrix / np.linalg.norm(v @ matrix)
    sigma = v @ matrix @ u
    by_hand = np.outer(x.sum(0), np.ones(5)) / sigma - (x @ matrix).sum() / sigma**2 * np.outer(v, u)
    np.testing.assert_allclose(jax.grad(total)(params)[name]["kernel"], by_hand, rtol=1e-4, atol=1e-4)
