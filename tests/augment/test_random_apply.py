import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.augment import random_apply
from kdjax.core.check import InputError


def noisy(key, image):
    return image + 1.0 + jax.random.uniform(key, image.shape)


def test_certain_and_impossible():
    image, key = jnp.zeros((2, 2, 1)), jax.random.key(0)
    assert random_apply(noisy, p=1.0) is noisy
    np.testing.assert_array_equal(random_apply(noisy, p=0)(key, image), image)


def test_happens_as_often_as_said_whatever_the_transform_draws():
    keys = jax.random.split(jax.random.key(2), 3000)
    out = np.asarray(jax.jit(jax.vmap(lambda k: random_apply(noisy, p=0.2)(k, jnp.zeros((1, 1, 1)))))(keys)).ravel()
    changed = out[out > 0] - 1
    assert abs(len(changed) - 600) < 4 * np.sqrt(3000 * 0.2 * 0.8)
    # The coin and the transform draw from different keys, so the noise of the chosen rows is still uniform.
    assert abs(changed.mean() - 0.5) < 4 / np.sqrt(12 * 600)


def test_a_bad_probability_is_refused():
    with pytest.raises(InputError, match="p=-1"):
        random_apply(noisy, p=-1)
