"""Equalised layers and StyleGAN's filter, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import jit_fast_compile
from kdjax.models.stylegan2_layers import EqualConv, EqualDense, doubled_kernel, filtered, leaky, smoothly_doubled
from kdjax.models.transposed_conv import doubling_convolution

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 5, 3)).astype(np.float32)
TAPS = np.array([1, 3, 3, 1]) / 8


def correlated(x, kernel):
    """NumPy: every place where the kernel fits."""
    height, width = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
    spots = [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]
    return sum(x[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in spots)


def padded(x, zeros):
    return np.pad(np.asarray(x, np.float64), ((0, 0), (zeros, zeros), (zeros, zeros), (0, 0)))


def filled_up(x):
    """Zeros behind every row and column but the last."""
    y = np.zeros((x.shape[0], 2 * x.shape[1] - 1, 2 * x.shape[2] - 1, x.shape[3]))
    y[:, ::2, ::2] = x
    return y


FILTER = np.einsum("h,w,io->hwio", TAPS, TAPS, np.eye(3))


def test_filtered():
    np.testing.assert_allclose(filtered(X, 2), correlated(padded(X, 2), FILTER), rtol=1e-5, atol=1e-6)


def test_smoothly_doubled():
    np.testing.assert_allclose(smoothly_doubled(X), correlated(padded(filled_up(X), 2), 4 * FILTER), rtol=1e-5, atol=1e-6)


def test_a_convolution_behind_filling_up_and_the_filter_is_one_of_six_pixels():
    kernel = RNG.normal(size=(3, 3, 3, 2)).astype(np.float32)
    by_hand = correlated(correlated(padded(filled_up(X), 3), 4 * FILTER), np.asarray(kernel, np.float64))
    got = jit_fast_compile(lambda x, k: doubling_convolution(x, doubled_kernel(k)))(X, jnp.asarray(kernel))
    np.testing.assert_allclose(got, by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("side", "half"), [(3, False), (3, True), (1, True)])
def test_convolutions(side, half):
    layer = EqualConv(2, side, half)
    params = layer.init(jax.random.key(0), X)["params"]
    kernel = np.asarray(params["kernel"], np.float64) / np.sqrt(side * side * 3)
    y = correlated(padded(X, side // 2 + 1), FILTER) if half else padded(X, side // 2)
    y = correlated(y, kernel)[:, ::2, ::2] if half else correlated(y, kernel)
    got = layer.apply({"params": {**params, "bias": jnp.array([1.0, -1.0])}}, X)
    np.testing.assert_allclose(got, y + np.array([1, -1]), rtol=1e-4, atol=1e-5)


def test_linear_layers_start_large_and_learn_slowly():
    layer, z = EqualDense(300, rate=0.01, bias=1.0), RNG.normal(size=(2, 40)).astype(np.float32)
    params = layer.init(jax.random.key(0), z)["params"]
    assert float(params["kernel"].std()) == pytest.approx(100, rel=0.03) and params["bias"][0] == 1
    by_hand = z @ np.asarray(params["kernel"]) * 0.01 / np.sqrt(40) + 0.01
    np.testing.assert_allclose(layer.apply({"params": params}, z), by_hand, rtol=1e-4, atol=1e-5)


def test_leaky_keeps_the_scale_of_a_normal_input():
    x = jax.random.normal(jax.random.key(0), (20000,))
    assert float(jnp.mean(leaky(x) ** 2)) == pytest.approx(1 + 0.2**2, rel=0.03)
