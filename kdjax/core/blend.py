"""Rows of a batch mixed with one another."""

import jax

from kdjax.core.arrays import AxisName
from kdjax.core.collectives import gather


def blend(x: jax.Array, others: jax.Array, share: jax.Array, *, axis_name: AxisName = None) -> jax.Array:
    """`share * row + (1 - share) * partner` of each row.

    Args:
      x: `[B, ...]` floats.
      others: int32 `[B]`, the numbers of the partners in the whole batch.
      share: `[B]`, or `[1]` for all; where it is 1 a row stays as it is.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[B, ...]`; gradients flow to both rows.

    >>> import jax.numpy as jnp
    >>> blend(jnp.array([1.0, 3.0]), jnp.array([1, 0]), jnp.array([0.5, 1.0])).tolist()
    [2.0, 3.0]
    """
    lam = share.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)
    return lam * x + (1 - lam) * gather(x, axis_name)[others]
