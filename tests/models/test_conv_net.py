"""The plain convolutional net: its pooling, and its parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.models import conv_net, parameter_count
from kdjax.models.conv_net import halve


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 28, 28, 1), [(28, 28), (14, 14), (7, 7), (3, 3)]),
        ((2, 8, 8, 1), [(8, 8), (4, 4), (2, 2), (1, 1)]),
        ((2, 3, 5, 1), [(3, 5), (1, 2), (1, 1), (1, 1)]),
        ((2, 1, 1, 1), [(1, 1)] * 4),
    ],
)
def test_maps_halve_between_stages_and_never_vanish(shape, expected, shapes):
    _, _, taps, _ = shapes(conv_net((4, 4, 4, 4), 3), jax.ShapeDtypeStruct(shape, jnp.float32))
    assert [taps[f"stage{i}"].shape[1:3] for i in (1, 2, 3, 4)] == expected


def test_parameter_count():
    # Per stage 9 a b + 2 b, then the linear layer.
    expected = 9 * 16 + 32 + 9 * 16 * 32 + 64 + 9 * 32 * 64 + 128 + 64 * 10 + 10
    assert parameter_count(conv_net(), (1, 28, 28, 1)) == expected == 24058


def test_halve_is_the_maximum_of_2x2_windows():
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
    y = np.asarray(x)[:, :4].reshape(2, 2, 2, 2, 2, 3).max((2, 4))
    np.testing.assert_array_equal(halve(x), y)
    gradient = jax.grad(lambda x: halve(x).sum())(x)
    expected = np.zeros(x.shape)
    expected[:, :4] = np.asarray(x)[:, :4] == y.repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(gradient, expected)


def test_taps_follow_one_another(drawn):
    net = conv_net((4, 6), 3)
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, 1))
    params, stats = drawn(net, x)
    taps, _ = jax.jit(lambda x: net.apply(params, stats, x, train=True))(x)
    np.testing.assert_array_equal(taps["stem"], taps["norm/stage1_bn"])
    for stage in ("stage1", "stage2"):
        np.testing.assert_array_equal(taps[stage], np.maximum(taps[stage + "_preact"], 0))
    np.testing.assert_allclose(taps["pooled"], np.asarray(taps["stage2"]).mean((1, 2)), rtol=1e-5, atol=1e-6)
    layer = params["classifier"]
    np.testing.assert_allclose(
        taps["logits"], taps["pooled"] @ layer["kernel"] + layer["bias"].reshape(1, -1), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("widths", [(), (4, 0)])
def test_bad_widths_are_refused(widths):
    with pytest.raises(InputError, match="widths="):
        conv_net(widths)
