import jax
import numpy as np
import pytest

from kdjax.augment import random_turn, rotations
from kdjax.core import InputError


def test_turns_are_numpy_s_rot90():
    image = jax.random.uniform(jax.random.key(0), (5, 5, 2))
    turned = rotations(image)
    for k in range(4):
        np.testing.assert_array_equal(turned[k], np.rot90(np.asarray(image), k, axes=(0, 1)))


def test_sides_that_differ_are_refused():
    with pytest.raises(InputError, match=r"image of shape \(4, 5, 1\) .* equal sides"):
        rotations(jax.numpy.zeros((4, 5, 1)))
    with pytest.raises(InputError, match="equal sides"):
        random_turn(jax.random.key(0), jax.numpy.zeros((4, 5, 1)))


@pytest.mark.parametrize("p", [0.0, 0.6, 1.0])
def test_random_turns_are_as_frequent_as_said(p):
    rows, image = 2000, jax.random.uniform(jax.random.key(0), (3, 3, 2))
    found = np.asarray(jax.jit(jax.vmap(lambda k: random_turn(k, image, p=p)))(jax.random.split(jax.random.key(1), rows)))
    counts = [int((found == np.rot90(np.asarray(image), k)).all((1, 2, 3)).sum()) for k in range(4)]
    assert sum(counts) == rows
    expected = np.array([1 - p, p / 3, p / 3, p / 3])
    assert (np.abs(counts - rows * expected) <= 4 * np.sqrt(rows * expected * (1 - expected))).all()


def test_four_ways_up_are_as_likely_by_default():
    assert random_turn.__kwdefaults__["p"] == 0.75
