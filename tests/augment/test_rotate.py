import jax
import numpy as np
import pytest

from kdjax.augment import rotations
from kdjax.core import InputError


def test_turns_are_numpy_s_rot90():
    image = jax.random.uniform(jax.random.key(0), (5, 5, 2))
    turned = rotations(image)
    for k in range(4):
        np.testing.assert_array_equal(turned[k], np.rot90(np.asarray(image), k, axes=(0, 1)))


def test_sides_that_differ_are_refused():
    with pytest.raises(InputError, match=r"image of shape \(4, 5, 1\) .* equal sides"):
        rotations(jax.numpy.zeros((4, 5, 1)))
