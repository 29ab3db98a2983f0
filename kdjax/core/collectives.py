"""Reductions over the batch that mean the same on one device and on many.

Every function takes `axis_name`: the name of the mapped axis inside `shard_map`, `pmap` or `vmap`, or None, where the arrays
are already global and the collective is the identity.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from kdjax.core.arrays import AxisName
from kdjax.core.mesh import placed


def psum(tree: Any, axis_name: AxisName = None) -> Any:
    """The sum of every array over the devices of `axis_name`."""
    return tree if axis_name is None else lax.psum(tree, axis_name)


def pmean(tree: Any, axis_name: AxisName = None) -> Any:
    """The mean of every floating array over the devices of `axis_name`; other dtypes (keys, counters) pass.

    So do arrays whose type says that all devices hold the same, such as gradients that JAX has summed inside `shard_map`: nothing
    travels for them.
    """
    if axis_name is None:
        return tree
    told = _varies(lax.axis_index(axis_name), axis_name)  # without `shard_map`'s checks no type says anything

    def one(x):
        same = told and not _varies(x, axis_name)
        return x if same or not jnp.issubdtype(jnp.result_type(x), jnp.floating) else lax.pmean(x, axis_name)

    return jax.tree.map(one, tree)


def _varies(x, axis_name):
    """Whether the type of an array says that devices hold different ones."""
    return axis_name in jax.typeof(x).manual_axis_type.varying


def mean(x: jax.Array, where: jax.Array | None = None, axis_name: AxisName = None) -> jax.Array:
    """The mean over all elements of the global batch, in float32 or wider.

    With a mask it is `psum(sum) / psum(count)`, never a mean of local means: devices may hold different counts. An empty
    mask gives 0.

    Args:
      x: any shape.
      where: mask that broadcasts against `x`; True (or 1) keeps an element.
      axis_name: mapped axis to reduce over, or None.

    Returns:
      A scalar.

    >>> float(mean(jnp.array([1.0, 2.0, 9.0]), jnp.array([True, True, False])))
    1.5
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if where is None:
        return pmean(jnp.mean(x), axis_name)
    kept = jnp.broadcast_to(where, x.shape)
    # The inner `where` keeps a NaN in a masked row out of the value and of the gradient.
    summed = jnp.sum(jnp.where(kept, x, 0.0))
    count = jnp.sum(kept.astype(x.dtype))
    return psum(summed, axis_name) / jnp.maximum(psum(count, axis_name), 1.0)


def largest(x: jax.Array, axis_name: AxisName = None, *, axis: int | None = None) -> jax.Array:
    """The largest element of the global batch, a scalar; or those along `axis`, which is kept. No gradient flows through it.

    >>> largest(jnp.array([[1.0, 2.0], [3.0, 0.0]]), axis=0).tolist()
    [[3.0, 2.0]]
    """
    top = jnp.max(lax.stop_gradient(x), axis=axis, keepdims=axis is not None)
    return top if axis_name is None else lax.pmax(top, axis_name)


def gather(x: jax.Array, axis_name: AxisName = None) -> jax.Array:
    """The rows of all devices in global order: `[B, ...] -> [N * B, ...]`. Gradients flow back to their rows.

    Without an axis the rows are there already; where their type says that they lie over devices (a mesh of Explicit axes), they
    are brought together, since products of rows with rows are refused otherwise.
    """
    return _together(x) if axis_name is None else lax.all_gather(x, axis_name, tiled=True)


def take(table: jax.Array, index: jax.Array) -> jax.Array:
    """`table[index]`, which lies over devices as `index` does; NaN (the least integer) for a row that is not there."""
    sharding, spec = placed(index)
    out = sharding.update(spec=P(*spec, *(None,) * (jnp.ndim(table) - 1))) if any(spec) else None
    return jnp.asarray(table).at[index].get(mode="fill", out_sharding=out)


def _together(x):
    sharding, spec = placed(x)
    return jax.sharding.reshard(x, sharding.update(spec=P(None, *spec[1:]))) if spec and spec[0] is not None else x


def gather_replicated(x: jax.Array, axis_name: AxisName = None) -> jax.Array:
    """As `gather`, for State that all devices hold: `shard_map` then knows that the result is the same on each."""
    if axis_name is None:
        return _together(x)
    rows = x.shape[0]
    # A sum of placed slices, not an all-gather, whose result counts as each device's own.
    zeros = jnp.zeros((rows * lax.axis_size(axis_name), *x.shape[1:]), x.dtype)
    return psum(lax.dynamic_update_slice_in_dim(zeros, x, offset(rows, axis_name), 0), axis_name)


def offset(rows: int, axis_name: AxisName = None) -> jax.Array | int:
    """The global number of this device's first row, when every device holds `rows` rows."""
    return 0 if axis_name is None else lax.axis_index(axis_name) * rows
