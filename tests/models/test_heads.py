"""The classifier behind an encoder and the MLP head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import jit_fast_compile
from kdjax.core.chain import chain
from kdjax.models import NETS, conv_net, mlp_head, parameter_count


def test_mlp_head_is_linear_norm_relu_linear_without_bias():
    net = mlp_head(5, 3)
    x = jax.random.normal(jax.random.key(1), (6, 4))
    params, stats = net.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, params) == {
        "linear1": {"kernel": (4, 5), "bias": (5,)},
        "bn": {"scale": (5,), "bias": (5,)},
        "linear2": {"kernel": (5, 3)},
    }
    params["linear1"]["bias"] += 0.5
    params["bn"]["bias"] += 0.2
    taps, _ = net.apply(params, stats, x, train=True)
    h = np.asarray(x) @ np.asarray(params["linear1"]["kernel"]) + 0.5
    np.testing.assert_allclose(taps["norm/bn"], h, rtol=1e-5, atol=1e-6)
    h = np.maximum((h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) + 0.2, 0)
    assert set(taps) == {"embedding", "norm/bn"}
    np.testing.assert_allclose(taps["embedding"], h @ np.asarray(params["linear2"]["kernel"]), rtol=1e-4, atol=1e-5)


def test_size_at_the_published_widths():
    # 2048 -> 4096 -> 256: two layers, one bias, one batch norm.
    assert parameter_count(mlp_head(4096, 256), (1, 2048)) == 2048 * 4096 + 4096 + 2 * 4096 + 4096 * 256


def test_a_head_behind_an_encoder():
    net = chain(encoder=conv_net((4,), None), head=mlp_head(6, 2))
    x = jnp.ones((2, 4, 4, 1))
    shapes = jax.eval_shape(lambda key: net.apply(*net.init(key, x), x, train=True)[0], jax.random.key(0))
    assert shapes["pooled"].shape == (2, 4)
    assert shapes["embedding"].shape == (2, 2)


def test_the_classifier_starts_small_and_without_bias():
    net = conv_net((64,), 50)
    params, _ = jit_fast_compile(net.init)(jax.random.key(0), jnp.ones((1, 2, 2, 1)))
    kernel = np.asarray(params["classifier"]["kernel"])
    assert 0.95 / 8 < np.abs(kernel).max() <= 1 / 8  # uniform in +-1/sqrt(64)
    assert not np.any(params["classifier"]["bias"])


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "shufflenet_v1", "shufflenet_v2", "wrn_16_1", "vgg8", "mobilenet_v2_half"])
def test_classifiers_start_as_the_authors_code_has_them(name):
    """PyTorch's default where it leaves the linear layer alone, else a bias of 0."""
    net, x = NETS[name](100), jnp.ones((1, 32, 32, 3))
    layer = jit_fast_compile(lambda key: net.init(key, x)[0]["classifier"])(jax.random.key(0))
    bound = 1 / np.sqrt(layer["kernel"].shape[0])
    if name.startswith(("resnet", "shufflenet")):
        assert 0.9 * bound < np.abs(layer["bias"]).max() <= bound and 0.9 * bound < np.abs(layer["kernel"]).max() <= bound
    else:
        assert not np.any(layer["bias"])
