"""Doubling transposed convolutions against JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import jit_fast_compile
from kdjax.models.transposed_conv import DoublingConv, doubling_convolution

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(2, 3, 4, 5)), jnp.float32)
KERNELS = {side: jnp.asarray(RNG.normal(size=(side, side, 5, 6)), jnp.float32) for side in (4, 6)}
WEIGHTS = jnp.asarray(RNG.normal(size=(2, 6, 8, 6)), jnp.float32)


def plain(x, kernel):
    around = [(kernel.shape[0] // 2,) * 2] * 2
    return jax.lax.conv_transpose(x, kernel, (2, 2), around, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("side", KERNELS)
def test_value_and_gradients_are_those_of_a_transposed_convolution(side):
    def both(f):
        return jit_fast_compile(jax.value_and_grad(lambda x, k: jnp.sum(WEIGHTS * jnp.sin(f(x, k))), (0, 1)))(X, KERNELS[side])

    assert doubling_convolution(X, KERNELS[side]).shape == (2, 6, 8, 6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), both(doubling_convolution), both(plain))


def test_the_formula_of_the_docstring():
    x, kernel = np.asarray(X[:1, :1, :, :1]), np.asarray(KERNELS[4][:, :, :1, :1])
    by_hand = np.zeros((2, 8))
    for y in range(2):
        for z in range(8):
            for j in range(4):
                if 0 <= (t := 2 - y) < 4 and 0 <= (u := 2 * j + 2 - z) < 4:
                    by_hand[y, z] += x[0, 0, j, 0] * kernel[t, u, 0, 0]
    np.testing.assert_allclose(doubling_convolution(x, kernel)[0, :, :, 0], by_hand, rtol=1e-5, atol=1e-6)


def test_the_layer_has_one_kernel_and_computes_in_its_dtype():
    layer = DoublingConv(3, dtype=jnp.bfloat16)
    params = jax.eval_shape(layer.init, jax.random.key(0), X)["params"]
    assert {name: (a.shape, a.dtype) for name, a in params.items()} == {"kernel": ((4, 4, 5, 3), jnp.float32)}
    assert jax.eval_shape(layer.apply, {"params": params}, X).dtype == jnp.bfloat16
