import jax
import numpy as np

from kdjax.core import jit_fast_compile


def test_a_program_that_runs_once_gives_what_jit_gives():
    draw = lambda key: jax.random.normal(key, (50,))  # noqa: E731
    quick = jit_fast_compile(draw)
    np.testing.assert_array_equal(quick(jax.random.key(1)), quick(jax.random.key(1)))
    np.testing.assert_allclose(quick(jax.random.key(1)), jax.jit(draw)(jax.random.key(1)), rtol=1e-6)
    assert not np.array_equal(quick(jax.random.key(2)), quick(jax.random.key(1)))
