import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import average_pool, match_sizes, nearest_resize

RNG = np.random.default_rng(2)
MAP = RNG.normal(size=(2, 7, 5, 3)).astype(np.float32)


def averaged(x, height, width):
    """Bin by bin, in float64."""
    rows, columns = x.shape[1:3]
    out = np.empty((len(x), height, width, x.shape[3]))
    for i in range(height):
        for j in range(width):
            top, bottom = i * rows // height, int(np.ceil((i + 1) * rows / height))
            left, right = j * columns // width, int(np.ceil((j + 1) * columns / width))
            out[:, i, j] = np.float64(x[:, top:bottom, left:right]).mean((1, 2))
    return out


@pytest.mark.parametrize("size", [(7, 5), (3, 5), (4, 2), (1, 1), (9, 6)])
def test_average_pool(size):
    np.testing.assert_allclose(average_pool(jnp.asarray(MAP), *size), averaged(MAP, *size), rtol=0, atol=1e-6)


def test_sizes_are_matched_to_the_smaller_of_each_side():
    s, t = RNG.normal(size=(2, 6, 3, 2)).astype(np.float32), RNG.normal(size=(2, 4, 5, 4)).astype(np.float32)
    for made, x in zip(match_sizes(jnp.asarray(s), jnp.asarray(t)), (s, t), strict=True):
        np.testing.assert_allclose(made, averaged(x, 4, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(7, 5), (14, 10), (3, 8), (1, 1)])
def test_nearest_resize(size):
    found = nearest_resize(jnp.asarray(MAP), *size)
    for i in range(size[0]):
        for j in range(size[1]):
            np.testing.assert_array_equal(found[:, i, j], MAP[:, i * 7 // size[0], j * 5 // size[1]])
