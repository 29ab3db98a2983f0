import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.augment import gaussian_noise
from kdjax.core.check import InputError


def test_mean_spread_and_clipping():
    grey = jnp.full((60, 60, 1), 0.5)
    noise = np.asarray(gaussian_noise(jax.random.key(0), grey, std=0.1)) - 0.5
    assert abs(noise.mean()) < 4 * 0.1 / 60
    assert abs(noise.std() - 0.1) < 4 * 0.1 / np.sqrt(2 * 3600)
    # Half of the noise on white is cut off.
    white = gaussian_noise(jax.random.key(0), jnp.ones((60, 60, 1)), std=0.1)
    assert abs(float((white == 1).sum()) - 1800) < 4 * 30


def test_a_bad_spread_is_refused():
    with pytest.raises(InputError, match="std=-1"):
        gaussian_noise(jax.random.key(0), jnp.ones((2, 2, 1)), std=-1)
