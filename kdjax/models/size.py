"""The size of a net."""

import math

import jax
import jax.numpy as jnp

from kdjax.core.net import Net


def parameter_count(net: Net, shape: tuple[int, ...]) -> int:
    """The number of trained parameters of a Net for a float32 input of `shape`, batch included; nothing is computed.

    >>> from kdjax.models.heads import mlp_head
    >>> parameter_count(mlp_head(4, 2), (1, 3))  # 3 * 4 + 4, batch norm 4 + 4, 4 * 2
    32
    """
    params, _ = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
