"""The generator of StyleGAN2: published size, modulation by hand, styles and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, jit_fast_compile
from kdjax.models import parameter_count, stylegan2
from kdjax.models.stylegan2 import ModulatedConv

RNG = np.random.default_rng(0)
SMALL = {"channels": 1, "base": 16, "largest": 4, "style": 5, "depth": 2}


def test_parameters_of_the_published_configurations():
    def counted(widths, depth):
        def layer(inputs, outputs):  # style, kernel, strength of the noise, bias
            return 513 * inputs + 9 * inputs * outputs + 1 + outputs

        found = depth * 513 * 512 + 16 * widths[0]
        for number, width in enumerate(widths):
            before = layer(widths[number - 1], width) if number else 0
            found += before + layer(width, width) + 513 * width + 3 * width + 3
        return found

    assert parameter_count(stylegan2(1024), (1, 512)) == counted([512] * 5 + [256, 128, 64, 32], 8)
    assert parameter_count(stylegan2(32, base=16384, depth=2), (1, 512)) == counted([512] * 4, 2)


def modulated_by_hand(params, x, style, demodulate):
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    s = style @ params["style"]["kernel"] / np.sqrt(style.shape[1]) + params["style"]["bias"]
    out = []
    for row, scales in zip(np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0))), s, strict=True):
        kernel = params["kernel"] * scales[:, None] / (1 if demodulate else np.sqrt(x.shape[-1]))
        if demodulate:
            kernel = kernel / np.sqrt((kernel**2).sum((0, 1, 2)) + 1e-8)
        out.append(sum(row[i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j] for i in range(3) for j in range(3)))
    return np.stack(out)


@pytest.mark.parametrize("demodulate", [True, False])
def test_a_modulated_convolution_scales_the_kernel_of_each_row(demodulate):
    x, style = RNG.normal(size=(2, 4, 3, 5)).astype(np.float32), RNG.normal(size=(2, 6)).astype(np.float32)
    layer = ModulatedConv(7, demodulate=demodulate)
    params = jit_fast_compile(layer.init)(jax.random.key(0), x, style)["params"]
    got = jit_fast_compile(layer.apply)({"params": params}, x, style)
    np.testing.assert_allclose(got, modulated_by_hand(params, x, style, demodulate), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "first"), [(32, (4, 4)), (28, (7, 7)), ((9, 15), (5, 8))])
def test_maps(size, first, shapes):
    net = stylegan2(size, **SMALL)
    params, stats, taps, _ = shapes(net, jax.ShapeDtypeStruct((3, 6), jnp.float32))
    side = size if isinstance(size, tuple) else (size, size)
    stages = [name for name in taps if name.startswith("stage")]
    assert taps["image"].shape == (3, *side, 1) and taps["style"].shape == (3, 5) and not stats
    maps = [(first[0] * 2**n, first[1] * 2**n) for n in range(len(stages))]
    assert [taps[f"stage{n}"].shape[1:3] for n in range(len(stages))] == maps
    assert params["constant"].shape == (*first, 4)


@pytest.fixture(scope="module")
def small():
    net = stylegan2(8, **SMALL)
    z = jax.random.normal(jax.random.key(1), (3, 6))
    params, stats = jit_fast_compile(net.init)(jax.random.key(0), z)
    params = jax.tree.map(lambda a: a + 0.1 if a.ndim == 0 else a, params)  # strengths of the noise
    return z, jit_fast_compile(lambda x: net.apply(params, stats, x, train=True)[0])


def test_styles_stand_for_latents(small):
    z, make = small
    taps = make({"latent": z})
    np.testing.assert_allclose(make({"style": taps["style"]})["image"], taps["image"], rtol=1e-5, atol=1e-6)
    layers = jnp.repeat(taps["style"][:, None], 4, 1)
    np.testing.assert_allclose(make({"style": layers})["image"], taps["image"], rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="'style' of 3 layers is not accepted: this generator has 4"):
        make({"style": layers[:, :3]})


def test_length_of_a_latent_does_not_matter(small):
    z, make = small
    np.testing.assert_allclose(make({"latent": 3 * z})["style"], make({"latent": z})["style"], rtol=1e-4, atol=1e-5)


def test_noise_is_of_a_rows_own_key(small):
    z, make = small
    keys = jax.random.split(jax.random.key(2), 3)
    noisy = make({"latent": z, "noise": keys})["image"]
    again = make({"latent": z, "noise": keys.at[0].set(jax.random.key(9))})["image"]
    assert float(jnp.abs(noisy - make({"latent": z})["image"]).max()) > 1e-3
    np.testing.assert_array_equal(noisy[1:], again[1:])
    assert float(jnp.abs(noisy[0] - again[0]).max()) > 1e-3


def test_the_path_length_can_be_trained():
    net = stylegan2(8, **SMALL, dtype=jnp.bfloat16)
    params, stats = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 6)))

    def lengths(params, z):
        w = net.apply(params, stats, z, train=True)[0]["style"]
        slope = jax.grad(lambda w: net.apply(params, stats, {"style": w}, train=True)[0]["image"].sum())(w)
        return jnp.sum(slope**2)

    gradient = jax.eval_shape(jax.grad(lengths), params, jnp.zeros((2, 6)))
    assert {a.dtype for a in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(("options", "named"), [({"size": 4}, "size=4"), ({"depth": 0}, "depth=0"), ({"latent": 0}, "latent=0")])
def test_bad_options_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        stylegan2(**options)


def test_inputs_without_latents_are_refused():
    net = stylegan2(8, **SMALL)
    with pytest.raises(InputError, match="a generator is given 'noise', 'z': expected latents, or a mapping with 'latent'"):
        jax.eval_shape(net.init, jax.random.key(0), {"z": jnp.zeros((2, 6)), "noise": jnp.zeros(2)})
