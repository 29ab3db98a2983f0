"""The classifier behind an encoder and the MLP head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, jit_fast_compile
from kdjax.core.chain import chain
from kdjax.models import NETS, conv_net, mlp_head, parameter_count, prototype_head


def test_mlp_head_is_linear_norm_relu_linear_without_bias():
    net = mlp_head(5, 3)
    x = jax.random.normal(jax.random.key(1), (6, 4))
    params, stats = net.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, params) == {
        "linear1": {"kernel": (4, 5), "bias": (5,)},
        "bn1": {"scale": (5,), "bias": (5,)},
        "linear2": {"kernel": (5, 3)},
    }
    params["linear1"]["bias"] += 0.5
    params["bn1"]["bias"] += 0.2
    taps, _ = net.apply(params, stats, x, train=True)
    h = np.asarray(x) @ np.asarray(params["linear1"]["kernel"]) + 0.5
    np.testing.assert_allclose(taps["norm/bn1"], h, rtol=1e-5, atol=1e-6)
    h = np.maximum((h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) + 0.2, 0)
    assert set(taps) == {"embedding", "norm/bn1"}
    np.testing.assert_allclose(taps["embedding"], h @ np.asarray(params["linear2"]["kernel"]), rtol=1e-4, atol=1e-5)


def test_mlp_head_in_other_forms():
    """SimSiam's projector in small: three layers, no biases below norms, the last norm without scale and offset."""
    net = mlp_head(5, 3, layers=3, hidden_bias=False, last_norm="plain", activation="gelu")
    x = jax.random.normal(jax.random.key(1), (6, 4))
    params, stats = net.init(jax.random.key(0), x)
    assert {name: set(layer) for name, layer in params.items()} == {
        "linear1": {"kernel"}, "bn1": {"scale", "bias"}, "linear2": {"kernel"}, "bn2": {"scale", "bias"}, "linear3": {"kernel"}
    }  # fmt: skip
    taps, new = net.apply(params, stats, x, train=True)
    np.testing.assert_allclose(taps["embedding"].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(taps["embedding"].std(0), 1, atol=1e-3)
    assert set(new["batch_stats"]) == {"bn1", "bn2", "bn3"}
    h = np.asarray(taps["norm/bn1"])
    h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)
    h = np.asarray(jax.scipy.stats.norm.cdf(h)) * h  # GELU as it is defined, not its tanh form
    np.testing.assert_allclose(taps["norm/bn2"], h @ np.asarray(params["linear2"]["kernel"]), rtol=1e-4, atol=1e-5)
    bare, _ = mlp_head(5, 3, norm=False, out_bias=True).init(jax.random.key(0), x)
    assert {name: set(layer) for name, layer in bare.items()} == {"linear1": {"kernel", "bias"}, "linear2": {"kernel", "bias"}}


@pytest.mark.parametrize("options", [{"layers": 0}, {"last_norm": "yes"}, {"activation": "tanh"}])
def test_mlp_head_refuses_other_forms(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        mlp_head(5, 3, **options)


@pytest.mark.parametrize("normalise", [True, False])
def test_prototypes_give_cosines(normalise):
    net, x = prototype_head(5, normalise=normalise), np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    params, stats = net.init(jax.random.key(0), x)
    kernel = np.float64(params["kernel"])
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-6)
    cosines = np.float64(x) / np.linalg.norm(np.float64(x), axis=1, keepdims=True) @ kernel
    for factor in (1, 3):
        scores = net.apply({"kernel": factor * params["kernel"]}, stats, x, train=True)[0]["scores"]
        np.testing.assert_allclose(scores, cosines * (1 if normalise else factor), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match=r"^prototypes=0"):
        prototype_head(0)


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
