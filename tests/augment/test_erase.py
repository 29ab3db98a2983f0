import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.augment import cutout
from kdjax.core.check import InputError


@pytest.mark.parametrize("size", [(2, 3), (4, 1)])
def test_each_middle_is_equally_likely_and_the_box_is_cut_at_the_border(size):
    height, width, rows = 4, 5, 2000
    keys = jax.random.split(jax.random.key(0), rows)
    image = np.random.default_rng(0).random((height, width, 2), np.float32) * 0.5
    out = np.asarray(jax.jit(jax.vmap(lambda k: cutout(k, jnp.asarray(image), size=size, fill=0.75)))(keys))
    expected = []
    for y in range(height):
        for x in range(width):
            one = image.copy()
            top, left = y - size[0] // 2, x - size[1] // 2
            one[max(top, 0) : max(top + size[0], 0), max(left, 0) : max(left + size[1], 0)] = 0.75
            expected.append(one)
    hits = (out[:, None] == np.stack(expected)).all((2, 3, 4))
    assert (hits.sum(1) == 1).all()
    # Twenty middles, 100 each: standard deviation 9.7.
    assert np.abs(hits.sum(0) - 100).max() < 4.5 * 9.7


def test_the_fill_may_differ_by_channel():
    fill = jnp.array([0.1, 0.2]).reshape(1, 1, 2)
    out = cutout(jax.random.key(0), jnp.ones((3, 3, 2)), size=7, fill=fill)
    np.testing.assert_array_equal(out, jnp.broadcast_to(fill, (3, 3, 2)))


def test_a_bad_size_is_refused():
    with pytest.raises(InputError, match="size=0"):
        cutout(jax.random.key(0), jnp.ones((3, 3, 1)), size=0)
