"""The data-free generators: sizes, range, layers, and what is published in numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import Net, jit_fast_compile, normalised
from kdjax.core.check import InputError
from kdjax.core.net import batch_norms
from kdjax.models import generator, parameter_count
from kdjax.models.generator import double


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "quarter"), [(8, (2, 2)), (28, (7, 7)), (32, (8, 8)), (30, (8, 8)), ((5, 8), (2, 2))])
def test_sizes(size, quarter, channels, shapes):
    net = generator(size, channels=channels, features=4)
    z = jax.ShapeDtypeStruct((3, 10), jnp.float32)
    _, stats, taps, _ = shapes(net, z)
    side = size if isinstance(size, tuple) else (size, size)
    assert taps["image"].shape == (3, *side, channels)
    assert taps["norm/bn0"].shape == taps["stage0"].shape == (3, *quarter, 8)
    assert taps["norm/bn1"].shape == taps["stage1"].shape == (3, 2 * quarter[0], 2 * quarter[1], 8)
    assert taps["norm/bn2"].shape == taps["stage2"].shape == (3, 4 * quarter[0], 4 * quarter[1], 4)
    assert len(batch_norms(taps, stats)) == 3


LARGER = {"widths": (256, 128, 64), "init": "normal", "latent": 512}
DAFL = {"bias": True, "last": "tanh_norm", "epsilon": 0.8, "latent": 1000}
ZSKT = {"bias": True, "last": "norm", "latent": 100}


@pytest.mark.parametrize(
    ("options", "nz", "counts"),
    [
        # 32x32x3: linear, batch norm, conv, batch norm, conv, batch norm, conv with bias, and what follows.
        ({}, 256, [256 * 8192 + 8192, 256, 9 * 128 * 128, 256, 9 * 128 * 64, 128, 9 * 64 * 3 + 3]),
        (LARGER, 512, [512 * 16384 + 16384, 512, 9 * 256 * 128, 256, 9 * 128 * 64, 128, 9 * 64 * 3 + 3]),
        (DAFL, 1000, [1000 * 8192 + 8192, 256, 9 * 128 * 128 + 128, 256, 9 * 128 * 64 + 64, 128, 9 * 64 * 3 + 3]),
        (ZSKT, 100, [100 * 8192 + 8192, 256, 9 * 128 * 128 + 128, 256, 9 * 128 * 64 + 64, 128, 9 * 64 * 3 + 3, 6]),
        ({"classes": 10}, 256, [2560, 256 * 8192 + 8192, 256, 9 * 128 * 128, 256, 9 * 128 * 64, 128, 9 * 64 * 3 + 3]),
        (
            {"classes": 10, "label": "concat"},
            256,
            [266 * 8192 + 8192, 256, 9 * 128 * 128, 256, 9 * 128 * 64, 128, 9 * 64 * 3 + 3],
        ),
    ],
)
def test_parameter_counts(options, nz, counts):
    assert parameter_count(generator(**options), (1, nz)) == sum(counts)


def images_in_numpy(params, z, options):
    """The generator in float64: a loop over the pixels of the kernel, statistics of the batch."""
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    widths, last = options["widths"], options.get("last", "sigmoid")

    def norm(x, name, epsilon):
        own = params.get(name, {"scale": 1.0, "bias": 0.0})
        return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + epsilon) * own["scale"] + own["bias"]

    def conv(x, name):
        padded, kernel = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), params[name]["kernel"]
        shifted = [(i, j, padded[:, i : i + x.shape[1], j : j + x.shape[2]]) for i in range(3) for j in range(3)]
        return sum(part @ kernel[i, j] for i, j, part in shifted) + params[name].get("bias", 0.0)

    x = (z @ params["linear"]["kernel"] + params["linear"]["bias"]).reshape(len(z), 1, 1, widths[0])
    x = norm(x, "bn0", 1e-5)
    for number in range(1, len(widths)):
        x = norm(conv(x.repeat(2, 1).repeat(2, 2), f"conv{number}"), f"bn{number}", options.get("epsilon", 1e-5))
        x = np.where(x > 0, x, 0.2 * x)
    x = conv(x, f"conv{len(widths)}")
    if last == "sigmoid":
        return 1 / (1 + np.exp(-x))
    x = norm(np.tanh(x) if last == "tanh_norm" else x, f"bn{len(widths)}", 1e-5)
    return x * np.asarray(options.get("std", 1.0)) + np.asarray(options.get("mean", 0.0))


@pytest.mark.parametrize(
    "options",
    [
        {"widths": (6, 4, 3)},
        {"widths": (4, 3), "bias": True, "last": "tanh_norm", "epsilon": 0.8},
        {"widths": (4, 3), "bias": True, "last": "norm", "mean": (0.4, 0.5), "std": (0.2, 0.3)},
    ],
)
def test_numbers(options, drawn):
    net = generator(2 ** (len(options["widths"]) - 1), channels=2, **options)
    z = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    params, stats = drawn(net, z)
    got = jit_fast_compile(lambda p, s: net.apply(p, s, z, train=True)[0]["image"])(params, stats)
    np.testing.assert_allclose(got, images_in_numpy(params, z, options), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("last", ["tanh_norm", "norm"])
def test_images_come_in_the_units_of_the_data_and_the_net_that_sees_them_takes_it_back(last):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    net = generator(8, widths=(4, 3), last=last, mean=mean, std=std)
    seen = normalised(Net(lambda key, x: ({}, {}), lambda params, stats, x, *, train, key=None: ({"logits": x}, stats)), mean, std)
    z = jax.random.normal(jax.random.key(1), (16, 5))
    images = jit_fast_compile(lambda key: net.apply(*net.init(key, z), z, train=True)[0]["image"])(jax.random.key(0))
    np.testing.assert_allclose(images.mean((0, 1, 2)), mean, atol=1e-4)
    np.testing.assert_allclose(images.std((0, 1, 2)), std, rtol=2e-3)
    again = np.asarray(seen.apply({}, {}, images, train=False)[0]["logits"])
    np.testing.assert_allclose(again.std((0, 1, 2)), 1, rtol=2e-3)


def test_normal_initialisation():
    net = generator(8, widths=(64, 64), init="normal", last="norm")
    params, _ = jit_fast_compile(net.init)(jax.random.key(0), jnp.zeros((2, 64)))
    for name in ("linear", "conv1", "conv2"):
        assert float(params[name]["kernel"].std()) == pytest.approx(0.02, rel=0.1)
    assert float(params["bn0"]["scale"].mean()) == pytest.approx(1, abs=0.01)
    assert float(params["bn0"]["scale"].std()) == pytest.approx(0.02, rel=0.5)
    assert not any(layer["bias"].any() for layer in params.values() if "bias" in layer)


def test_images_are_sigmoids_and_only_the_last_convolution_has_a_bias():
    net = generator(6, channels=1, features=4)
    z = jax.random.normal(jax.random.key(1), (4, 3))
    params, stats = jit_fast_compile(net.init)(jax.random.key(0), z)
    assert [name for name in params if name.startswith("conv") and "bias" in params[name]] == ["conv3"]
    images = jax.jit(lambda p: net.apply(p, stats, z, train=True)[0]["image"])
    far = {**params, "conv3": {**params["conv3"], "bias": params["conv3"]["bias"] + 50.0}}
    assert float(images(params).std()) > 0.01
    assert 0.0 < float(images(params).min()) < float(images(params).max()) < 1.0
    np.testing.assert_allclose(images(far), 1.0, atol=1e-6)


def test_double_repeats_pixels():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    np.testing.assert_array_equal(double(x), np.asarray(x).repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"size": 0}, "size=0"),
        ({"channels": 0}, "channels=0"),
        ({"features": 0}, "features=0"),
        ({"latent": 0}, "latent=0"),
        ({"widths": ()}, r"widths=\(\)"),
        ({"last": "tanh"}, "last='tanh' is not accepted: expected 'sigmoid', 'tanh_norm', 'norm'"),
        ({"epsilon": 0}, "epsilon=0"),
        ({"init": "xavier"}, "init='xavier' is not accepted: expected 'fan_in', 'normal'"),
        ({"mean": [0.5]}, "mean=.* is not accepted: expected None: a sigmoid"),
        ({"last": "norm", "std": [0.5, 0.5]}, r"std=\(0.5, 0.5\) is not accepted: expected 1 or 3 numbers"),
    ],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        generator(**options)


def test_latents_of_another_length_are_refused():
    with pytest.raises(InputError, match="latent=3 is not accepted: expected 4"):
        jax.eval_shape(generator(6, latent=3).init, jax.random.key(0), jnp.zeros((2, 4)))
