"""Batch norm as all nets use it."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from kdjax.core.arrays import AxisName


def batch_norm(
    train: bool,
    *,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
    epsilon: float = 1e-5,
    scale_init: Any = nn.initializers.ones,
    affine: bool = True,
    name: str | None = None,
) -> nn.BatchNorm:
    """Batch norm over the last axis: running averages keep 0.9, statistics are float32.

    The running variance is the biased one (PyTorch keeps the unbiased one, larger by n / (n - 1)).

    Args:
      train: whether the batch's own statistics are used and the running ones move.
      dtype: dtype of the result.
      axis_name: mapped axis over which the statistics are averaged, or None.
      epsilon: what is added to the variance.
      scale_init: initialiser of the scale; zeros make a residual block start as the identity.
      affine: whether there are a scale and an offset.
      name: name of the layer in its module.

    Returns:
      An unbound Linen layer.

    >>> import jax
    >>> layer = batch_norm(train=False)
    >>> layer.init(jax.random.key(0), jnp.zeros((2, 3)))["batch_stats"]["var"].tolist()
    [1.0, 1.0, 1.0]
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=epsilon,
        dtype=dtype,
        use_bias=affine,
        use_scale=affine,
        axis_name=axis_name,  # pyright: ignore[reportArgumentType]  Flax takes several too
        scale_init=scale_init,
        name=name,
    )
