"""The critic of StyleGAN2: published size, maps, the deviation of rows, gradients of gradients."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, jit_fast_compile
from kdjax.models import parameter_count, stylegan2_critic, stylegan2_layers
from kdjax.models.stylegan2_critic import row_deviation

SMALL = {"base": 16, "largest": 4}


def test_parameters_of_the_published_configuration():
    widths = [32, 64, 128, 256, 512, 512, 512, 512, 512]
    blocks = sum(9 * a * a + a + 9 * a * b + b + a * b for a, b in pairwise(widths))
    ends = (3 * 32 + 32) + (9 * 513 * 512 + 512) + (16 * 512 * 512 + 512) + (512 + 1)
    assert parameter_count(stylegan2_critic(), (4, 1024, 1024, 3)) == blocks + ends


def test_taps(shapes):
    _, stats, taps, _ = shapes(stylegan2_critic(**SMALL, dtype=jnp.bfloat16), jnp.zeros((4, 28, 29, 1)))
    assert {k: x.shape for k, x in taps.items()} == {
        "stem": (4, 28, 29, 1), "stage1": (4, 14, 14, 2), "stage2": (4, 7, 7, 4), "pooled": (4, 4), "logit": (4,),
    }  # fmt: skip
    assert taps["stage2"].dtype == jnp.bfloat16 and taps["logit"].dtype == jnp.float32 and not stats


@pytest.mark.parametrize(("rows", "group"), [(8, 4), (6, 2), (3, 1)])
def test_row_deviation_by_hand(rows, group):
    x = np.random.default_rng(0).normal(size=(rows, 2, 3, 5))
    got = row_deviation(jnp.asarray(x, jnp.float32))
    assert got.shape == (rows, 2, 3, 1)
    for start in range(0, rows, group):
        by_hand = np.sqrt(x[start : start + group].var(0) + 1e-8).mean()
        np.testing.assert_allclose(got[start : start + group], by_hand, rtol=1e-4)


def test_groups_stay_on_a_device():
    x = jax.random.normal(jax.random.key(0), (8, 2, 2, 3))
    halves = jnp.concatenate([row_deviation(x[:4]), row_deviation(x[4:])])
    np.testing.assert_allclose(halves, row_deviation(x), rtol=1e-6)


def test_the_gradient_of_r1_is_that_of_plain_convolutions(monkeypatch):
    net = stylegan2_critic(**SMALL)
    x = jax.random.uniform(jax.random.key(1), (2, 8, 8, 1))
    params, stats = jit_fast_compile(net.init)(jax.random.key(0), x)

    def penalty(params):
        slope = jax.grad(lambda x: net.apply(params, stats, x, train=True)[0]["logit"].sum())(x)
        return jnp.sum(slope**2)

    got = jit_fast_compile(jax.grad(penalty))(params)
    monkeypatch.setattr(stylegan2_layers, "convolution", jax.lax.conv_general_dilated)
    plain = jit_fast_compile(lambda params: jax.grad(penalty)(params))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), got, plain)
    assert float(jnp.abs(got["stem"]["kernel"]).max()) > 0.01


def test_refused():
    with pytest.raises(InputError, match="base=0"):
        stylegan2_critic(base=0)
    with pytest.raises(InputError, match="a critic of StyleGAN2 is given images of 8x7: expected sides of at least 8 pixels"):
        jax.eval_shape(stylegan2_critic(**SMALL).init, jax.random.key(0), jnp.zeros((2, 8, 7, 1)))
