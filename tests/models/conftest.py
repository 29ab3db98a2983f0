"""Parameters and statistics without compiling the initialisers of a net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture
def drawn():
    """`drawn(net, x) -> (params, stats)`: kernels of He's scale, all else between 0.7 and 1.3 (no ones, no zeros)."""

    def draw(net, x):
        rng = np.random.default_rng(0)

        def leaf(path, a):
            if path[-1].key == "kernel":
                return jnp.asarray(rng.normal(0.0, np.sqrt(2 / np.prod(a.shape[:-1])), a.shape), jnp.float32)
            return jnp.asarray(rng.uniform(0.7, 1.3, a.shape), jnp.float32)

        return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(net.init, jax.random.key(0), x))

    return draw


@pytest.fixture
def shapes():
    """`shapes(net, x, train) -> (params, stats, taps, new stats)` as shapes; nothing is compiled."""

    def trace(net, x, train=True):
        params, stats = jax.eval_shape(net.init, jax.random.key(0), x)
        return params, stats, *jax.eval_shape(lambda p, s, x: net.apply(p, s, x, train=train), params, stats, x)

    return trace
