"""The critic of DCGAN: published size, maps, norms, and gradients of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, jit_fast_compile
from kdjax.models import conv, dcgan_critic, parameter_count


def test_parameters_of_the_authors_configuration():
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert parameter_count(dcgan_critic(), (1, 64, 64, 3)) == kernels + 2 * (128 + 256 + 512)
    biases = 64 + 128 + 256 + 512 + 1
    assert parameter_count(dcgan_critic(norm="spectral"), (1, 64, 64, 3)) == kernels + biases


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_taps(norm, shapes):
    params, stats, taps, _ = shapes(dcgan_critic(4, norm=norm, dtype=jnp.bfloat16), jnp.zeros((2, 28, 30, 1)))
    assert {k: x.shape for k, x in taps.items() if not k.startswith("norm/")} == {
        "stage1": (2, 14, 15, 4), "stage2": (2, 7, 7, 8), "pooled": (2, 8), "logit": (2,),
    }  # fmt: skip
    assert taps["stage2"].dtype == jnp.bfloat16 and taps["logit"].dtype == jnp.float32
    assert ("norm/stage2_bn" in taps) == ("stage2_bn" in params) == (norm == "batch")
    assert {"batch": "batch_stats", "spectral": "spectral"}.get(norm) == (next(iter(stats)) if stats else None)


@pytest.mark.parametrize("norm", ["spectral", "none"])
def test_the_gradient_of_r1_is_that_of_plain_convolutions(norm, monkeypatch):
    net = dcgan_critic(3, norm=norm)
    x = jax.random.uniform(jax.random.key(1), (2, 8, 8, 2))
    params, stats = net.init(jax.random.key(0), x)
    params = jax.tree.map(lambda a: a + 0.3 * jax.random.normal(jax.random.key(2), a.shape), params)

    def penalty(params):
        slope = jax.grad(lambda x: net.apply(params, stats, x, train=False)[0]["logit"].sum())(x)
        return jnp.sum(slope**2)

    got = jit_fast_compile(jax.grad(penalty))(params)
    monkeypatch.setattr(conv, "convolution", jax.lax.conv_general_dilated)
    plain = jit_fast_compile(lambda params: jax.grad(penalty)(params))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), got, plain)
    assert float(jnp.abs(got["stage1_conv"]["kernel"]).max()) > 0.01


@pytest.mark.parametrize(
    ("options", "named"),
    [({"features": 0}, "features=0"), ({"norm": "layer"}, "norm='layer' is not accepted"), ({"widths": []}, "widths=")],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        dcgan_critic(**options)


def test_small_images_are_refused():
    with pytest.raises(InputError, match="a critic of DCGAN is given images of 6x8: expected sides of at least 8 pixels"):
        jax.eval_shape(dcgan_critic().init, jax.random.key(0), jnp.zeros((2, 6, 8, 1)))
