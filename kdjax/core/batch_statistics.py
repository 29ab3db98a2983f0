"""Statistics of batch norm measured anew."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.net import Net


def estimate_statistics(net: Net, params: Any, stats: Any, batches: Any, key: jax.Array | None = None) -> Any:
    """The statistics of a net with other weights than those it was trained at: the plain mean over batches of what each one has.

    In training a statistic moves to `m old + (1 - m) new`; from two starts, 0 and 1, both m and what is new follow: so this fits
    all statistics that are such averages, whatever their m. What does not move stays, and so do whole numbers.

    Args:
      net: a Net.
      params: its parameters.
      stats: its statistics.
      batches: its inputs, arrays `[n, B, ...]` of n batches.
      key: for a net that draws in training.

    Reference: Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, Averaging Weights Leads to Wider Optima and Better
    Generalization, UAI 2018 (arXiv 1803.05407), where they are measured in one pass over the training images.
    """
    numbers = lambda x: jnp.issubdtype(x.dtype, jnp.floating)  # noqa: E731

    def after(start, x):
        filled = jax.tree.map(lambda s: jnp.full_like(s, start) if numbers(s) else s, stats)
        return net.apply(params, filled, x, train=True, key=key)[1]

    def of_batch(x):
        def new(own, low, high):
            kept = high - low
            moves = kept < 1 - 1e-6
            return jnp.where(moves, low / jnp.where(moves, 1 - kept, 1.0), own) if numbers(own) else own

        return jax.tree.map(new, stats, after(0.0, x), after(1.0, x))

    found = lax.map(of_batch, batches)
    return jax.tree.map(lambda x: jnp.mean(x, 0) if numbers(x) else x[-1], found)
