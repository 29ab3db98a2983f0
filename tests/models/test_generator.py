"""The data-free generator: sizes, range, layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import jit_fast_compile
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
    assert taps["norm/bn0"].shape == (3, *quarter, 8)
    assert taps["norm/bn1"].shape == (3, 2 * quarter[0], 2 * quarter[1], 8)
    assert taps["norm/bn2"].shape == (3, 4 * quarter[0], 4 * quarter[1], 4)
    assert len(batch_norms(taps, stats)) == 3


def test_parameter_count_of_the_benchmark():
    # nz 256, ngf 64, 32x32x3: linear, batch norm, conv, batch norm, conv, batch norm, conv with bias.
    linear = 256 * 8 * 8 * 128 + 8 * 8 * 128
    expected = linear + 256 + 9 * 128 * 128 + 256 + 9 * 128 * 64 + 128 + 9 * 64 * 3 + 3
    assert parameter_count(generator(), (1, 256)) == expected


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
    [({"size": 0}, "size=0"), ({"channels": 0}, "channels=0"), ({"features": 0}, "features=0"), ({"latent": 0}, "latent=0")],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        generator(**options)


def test_latents_of_another_length_are_refused():
    with pytest.raises(InputError, match="latent=3 is not accepted: expected 4"):
        jax.eval_shape(generator(6, latent=3).init, jax.random.key(0), jnp.zeros((2, 4)))
