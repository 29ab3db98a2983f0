"""Random keys that do not depend on how rows are spread over devices."""

import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.collectives import offset


def row_keys(key: jax.Array, rows: int, axis_name: AxisName = None) -> jax.Array:
    """One key a row, folded from the *global* row number: one device and many draw the same.

    Args:
      key: a key shared by all devices.
      rows: rows on this device.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      keys `[rows]`.
    """
    return example_keys(key, offset(rows, axis_name) + jnp.arange(rows, dtype=jnp.int32))


def example_keys(key: jax.Array, index: jax.Array) -> jax.Array:
    """One key an example, folded from its number in the data set: `[B] -> [B]` keys."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def row_normal(key: jax.Array, rows: int, shape: tuple[int, ...], axis_name: AxisName = None) -> jax.Array:
    """Standard normal noise `[rows, *shape]`, each row from its own global key (a generator's latents)."""
    return jax.vmap(lambda k: jax.random.normal(k, shape))(row_keys(key, rows, axis_name))
