"""LeNet-5: the layer list of the paper's code, numbers, sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, jit_fast_compile
from kdjax.models import lenet5, lenet5_half, parameter_count


def test_parameter_counts_by_the_layer_lists():
    assert parameter_count(lenet5(), (1, 32, 32, 1)) == 26 * 6 + 151 * 16 + 401 * 120 + 121 * 84 + 85 * 10
    assert parameter_count(lenet5_half(), (1, 32, 32, 1)) == 26 * 3 + 76 * 8 + 201 * 60 + 61 * 42 + 43 * 10
    assert parameter_count(lenet5(), (1, 28, 28, 1)) == 26 * 6 + 151 * 16 + (4 * 4 * 16 + 1) * 120 + 121 * 84 + 85 * 10


def test_numbers(drawn):
    net = lenet5_half(4)
    x = np.random.default_rng(0).normal(size=(2, 16, 20, 1)).astype(np.float32)
    params, stats = drawn(net, x)
    taps, _ = jit_fast_compile(lambda p: net.apply(p, stats, x, train=False))(params)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    y = np.asarray(x, np.float64)
    for stage in (1, 2, 3):
        kernel = params[f"stage{stage}_conv"]["kernel"]
        height, width = (y.shape[1] - kernel.shape[0] + 1, y.shape[2] - kernel.shape[1] + 1)
        spots = [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]
        y = sum(y[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in spots)
        y = np.maximum(y + params[f"stage{stage}_conv"]["bias"], 0)
        np.testing.assert_allclose(taps[f"stage{stage}"], y, rtol=1e-4, atol=1e-4)
        if stage < 3:
            y = y.reshape(2, height // 2, 2, width // 2, 2, -1).max((2, 4))
    y = np.maximum(y[:, 0, 0] @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    np.testing.assert_allclose(taps["logits"], y @ params["classifier"]["kernel"] + params["classifier"]["bias"], rtol=1e-4)


def test_small_images_are_refused():
    with pytest.raises(InputError, match="LeNet-5 is given images of 8x16: expected sides of at least 16 pixels"):
        jax.eval_shape(lenet5().init, jax.random.key(0), jnp.zeros((1, 8, 16, 1)))
