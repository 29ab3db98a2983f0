import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, from_linen
from kdjax.models import Upscaler, pixel_shuffle


def test_channel_c_r_r_plus_i_r_plus_j_goes_to_row_i_column_j():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 2 * 9)).astype(np.float32)
    out = pixel_shuffle(x, 3)
    assert out.shape == (2, 9, 12, 2)
    for b, h, w, c, i, j in ((0, 0, 0, 0, 0, 0), (1, 2, 3, 1, 2, 1), (0, 1, 2, 1, 0, 2)):
        assert out[b, 3 * h + i, 3 * w + j, c] == x[b, h, w, 9 * c + 3 * i + j]
    np.testing.assert_array_equal(pixel_shuffle(x, 1), x)


def test_channels_must_divide():
    with pytest.raises(InputError, match="a map of 3 channels cannot be shuffled by factor=2"):
        pixel_shuffle(jnp.ones((1, 1, 1, 3)), 2)


def test_an_upscaler_cuts_what_is_too_large():
    """5x4 from 2x2: factor 3, so 6x6 before the cut; a 1x1 convolution without bias and a leaky ReLU of a slope a channel."""
    net, x = from_linen(Upscaler((5, 4, 2))), jax.random.normal(jax.random.key(0), (3, 2, 2, 4))
    params, _ = net.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, params) == {"conv": {"kernel": (1, 1, 4, 18)}, "slope": (2,)}
    assert params["slope"].tolist() == [0.25, 0.25]
    slopes = {"slope": jnp.array([0.5, 0.0])}
    out = net.apply(params | slopes, {}, x, train=False)[0]["logits"]
    linear = pixel_shuffle(x @ params["conv"]["kernel"][0, 0], 3)[:, :5, :4]
    np.testing.assert_allclose(out, np.where(linear > 0, linear, np.asarray(linear) * np.array([0.5, 0.0])), atol=1e-5)
