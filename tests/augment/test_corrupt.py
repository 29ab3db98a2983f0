"""Damage of known kinds and strengths."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from kdjax.augment import corrupt
from kdjax.augment.corrupt import CORRUPTIONS
from kdjax.core import InputError, jit_fast_compile

IMAGE = np.random.default_rng(0).uniform(0.3, 0.7, (40, 40, 3)).astype(np.float32)
KEY = jax.random.key(3)


def damaged(kind, strength, image=IMAGE):
    return np.asarray(jit_fast_compile(partial(corrupt, kind=kind, strength=strength))(KEY, jnp.asarray(image)))


def test_there_are_five_kinds_of_five_strengths_each_worse_than_the_one_before():
    assert len(CORRUPTIONS) == 5
    for kind, strengths in CORRUPTIONS.items():
        assert len(strengths) == 5 and np.ptp(np.sign(np.diff(strengths))) == 0, kind
    weak, strong = (np.abs(damaged("gaussian_blur", k) - IMAGE).mean() for k in (1, 5))
    assert 0 < weak < strong


def test_noise_has_the_width_and_the_share_it_says():
    assert abs((damaged("gaussian_noise", 5) - IMAGE).std() - 0.1) < 0.004
    found = damaged("impulse_noise", 5)
    hit = found != IMAGE
    assert set(np.unique(found[hit])) == {0.0, 1.0} and abs(hit.mean() - 0.07) < 4 * np.sqrt(0.07 * 0.93 / hit.size)
    assert abs(found[hit].mean() - 0.5) < 4 * 0.5 / np.sqrt(hit.sum())


def test_blur_and_contrast_are_those_of_numpy():
    blurred = gaussian_filter(IMAGE.astype(np.float64), sigma=(1.0, 1.0, 0), truncate=4.0)
    np.testing.assert_allclose(damaged("gaussian_blur", 5)[5:-5, 5:-5], blurred[5:-5, 5:-5], atol=1e-5)
    mean = IMAGE.astype(np.float64).mean((0, 1))
    np.testing.assert_allclose(damaged("contrast", 5), 0.15 * (IMAGE - mean) + mean, atol=1e-5)


def test_brightness_raises_the_largest_channel_and_keeps_hue_and_saturation():
    found, value = damaged("brightness", 4).astype(np.float64), IMAGE.max(-1, keepdims=True)
    np.testing.assert_allclose(found, IMAGE * (value + 0.2) / value, atol=1e-5)
    grey = IMAGE[..., :1]
    np.testing.assert_allclose(damaged("brightness", 4, grey), grey + 0.2, atol=1e-6)


def test_other_kinds_and_strengths_are_refused():
    for words, said in (
        ({"kind": "fog", "strength": 1}, "kind 'fog' is not known"),
        ({"kind": "contrast", "strength": 6}, "strength=6"),
    ):
        with pytest.raises(InputError, match=said):
            corrupt(KEY, jnp.asarray(IMAGE), **words)
