"""The generator of DCGAN: published size, maps, range."""

import jax
import jax.numpy as jnp
import pytest

from kdjax.core import InputError
from kdjax.models import dcgan, parameter_count


def test_parameters_of_the_authors_configuration():
    # Kernels of a linear layer to 4x4x512 and of four transposed convolutions, batch norms; no biases.
    kernels = 100 * 512 * 16 + 16 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    assert parameter_count(dcgan(64), (1, 100)) == kernels + 2 * (512 + 256 + 128 + 64)


@pytest.mark.parametrize(
    ("size", "maps"),
    [
        (64, [(4, 4, 16), (8, 8, 8), (16, 16, 4), (32, 32, 2)]),
        (28, [(7, 7, 4), (14, 14, 2)]),
        (8, [(4, 4, 2)]),
        ((9, 15), [(5, 8, 2)]),
    ],
)
def test_maps(size, maps, shapes):
    _, _, taps, _ = shapes(dcgan(size, channels=1, features=2), jax.ShapeDtypeStruct((3, 5), jnp.float32))
    assert [taps[f"stage{n}"].shape for n in range(len(maps))] == [(3, *one) for one in maps]
    side = size if isinstance(size, tuple) else (size, size)
    assert taps["image"].shape == (3, *side, 1) and f"stage{len(maps)}" not in taps


def test_images_are_in_the_units_of_the_data():
    net = dcgan(8, channels=1, features=2)
    z = jax.random.normal(jax.random.key(1), (4, 3))
    params, stats = net.init(jax.random.key(0), z)
    images = jax.jit(lambda p: net.apply(p, stats, z, train=True)[0]["image"])
    assert 0 < float(images(params).min()) < 0.5 < float(images(params).max()) < 1
    assert float(jnp.abs(images({**params, "conv1": {"kernel": 0 * params["conv1"]["kernel"]}}) - 0.5).max()) == 0


def test_a_label_goes_in_front_of_the_linear_layer(shapes):
    x = {"latent": jnp.zeros((4, 5)), "label": jnp.zeros(4, jnp.int32)}
    params, *_ = shapes(dcgan(8, features=2, classes=3, label="concat", embedding=6), x)
    assert params["latents"]["class_embedding"].shape == (3, 6) and params["linear"]["kernel"].shape[0] == 11


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"size": 7}, "size=7 is not accepted: expected a side of at least 8"),
        ({"widths": []}, r"widths=\(\)"),
        ({"label": "x"}, "label='x'"),
    ],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        dcgan(**options)
