"""Gradient checkpointing: what blocks compute inside is not kept for the backward pass, but computed again there."""

import re

import flax.linen as nn
import jax

from kdjax.core.check import InputError
from kdjax.core.net import Net

_BLOCK = re.compile(r"(stage\d+_)?block\d+")  # the names of residual and transformer blocks


def remat(net: Net) -> Net:
    """A Net of equal values and gradients that keeps for the backward pass what its blocks see, and not what they compute inside.

    The blocks' forward pass is computed twice in a training step. Compilers for CPUs undo the saving: they move the second pass up,
    unless `XLA_FLAGS=--xla_disable_hlo_passes=cse_barrier_expander` keeps it where it is.

    Args:
      net: made of `flax.linen` modules, with blocks named `"block1"` or `"stage1_block1"` and so on.

    Raises:
      InputError: at `init`, for a net without such blocks.

    Reference: Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv 1604.06174.

    >>> import jax.numpy as jnp
    >>> from kdjax.models.vit import vit
    >>> net, images = remat(vit(4, 8, 1, 2)), jnp.zeros((1, 8, 8, 1))
    >>> net.apply(*net.init(jax.random.key(0), images), images, train=True)[0]["logits"].shape
    (1, 10)
    """

    def init(key, x):
        params, stats = net.init(key, x)
        paths = jax.tree_util.tree_leaves_with_path(params)
        if not any(_BLOCK.fullmatch(str(getattr(entry, "key", ""))) for path, _ in paths for entry in path):
            raise InputError("remat=True is not accepted: expected a net with blocks, such as a ResNet or a transformer")
        return params, stats

    def apply(params, stats, x, *, train, key=None):
        inside = False

        def computed_again(call, args, kwargs, context):
            nonlocal inside
            if inside or context.method_name != "__call__" or not _BLOCK.fullmatch(context.module.name or ""):
                return call(*args, **kwargs)
            x, *options = args
            inside = True
            try:
                return nn.remat(lambda block, x: type(block).__call__(block, x, *options, **kwargs))(context.module, x)
            finally:
                inside = False

        with nn.intercept_methods(computed_again):
            return net.apply(params, stats, x, train=train, key=key)

    return Net(init, apply)
