"""How much each of several classifiers counts for an image."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_count
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import fan_in_uniform
from kdjax.models.norm import batch_norm


class _Gate(nn.Module):
    count: int
    axis_name: AxisName

    @nn.compact
    def __call__(self, x: Any, train: bool) -> dict[str, jax.Array]:
        x = jnp.mean(x, tuple(range(1, x.ndim - 1)), dtype=jnp.float32)
        x = nn.Dense(self.count, use_bias=False, kernel_init=fan_in_uniform, name="linear")(x)
        return {"shares": nn.softmax(nn.relu(batch_norm(train, axis_name=self.axis_name, name="bn")(x)))}


def gate(count: int, *, axis_name: AxisName = None) -> Net:
    """The gate of ONE: `softmax(ReLU(BN(W mean(x))))`, the mean over positions.

    Args:
      count: m, of what is weighed.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of maps `[B, H, W, C]` with the tap `"shares"` `[B, m]`, float32, each row of which sums to 1. W has no bias, which the
      batch norm would take away.

    Raises:
      InputError: for a count below 1.

    Reference: Lan, Zhu, Gong, "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018, arXiv 1806.04606.

    >>> net = gate(3)
    >>> params, stats = net.init(jax.random.key(0), jnp.ones((2, 4, 4, 5)))
    >>> net.apply(params, stats, jnp.zeros((2, 4, 4, 5)), train=False)[0]["shares"].shape
    (2, 3)
    """
    check_count(count=count)
    return from_linen(_Gate(count, axis_name))
