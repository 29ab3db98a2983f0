"""The compiled inner loop: a block of steps as one `lax.scan` over a set that lives on the device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax.core import example_keys, join, split
from kdjax.data import take
from kdjax.train.members import over_members
from kdjax.train.stage import Stage


def block(stage: Stage, state: Any, how: str, own: bool, mesh: Mesh | None) -> Callable:
    """Compiles `(moving, frozen, arrays, keys, rows, epochs, first) -> (moving, metrics)`; `moving` is donated.

    Args:
      stage: what to run.
      state: the State with members (arrays or shapes).
      how: how members run.
      own: each member has its own rows and keys, instead of sharing a batch.
      mesh: devices with an axis `data` to spread batches over, or None.

    Returns:
      the compiled function. `rows` are `[k, B]`, or `[k, members, B]` with `own`; `keys` one key, or one a member; `epochs` is
      `[k]`; `first` the number of the first step; the metrics are means over the block, `[members]` each.
    """

    def batch_of(arrays, key, rows, epoch):
        batch = {"index": rows} if arrays is None else take(arrays, rows)
        if mesh is not None:
            batch = lax.with_sharding_constraint(batch, NamedSharding(mesh, P("data")))
        draw = jax.random.fold_in(jax.random.fold_in(key, 0), epoch)
        return batch if arrays is None else stage.augment(example_keys(draw, batch["index"]), batch)

    def run(moving, frozen, arrays, keys, rows, epochs, first):
        step = over_members(stage.method.step, how, state, own, own)

        def body(moving, now):
            rows, epoch, number = now
            if own:
                batch = jax.vmap(batch_of, in_axes=(None, 0, 0, None))(arrays, keys, rows, epoch)
                key = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(k, 1), number))(keys)
            else:
                batch = batch_of(arrays, keys, rows, epoch)
                key = jax.random.fold_in(jax.random.fold_in(keys, 1), number)
            new, metrics = step(join(moving, frozen), batch, key)
            return split(new)[0], metrics

        numbers = first + jnp.arange(rows.shape[0], dtype=jnp.int32)
        moving, metrics = lax.scan(body, moving, (rows, epochs, numbers))
        return moving, jax.tree.map(lambda x: jnp.mean(x, 0), metrics)

    # What comes out is placed as what goes in: a resumed run then compiles the same program.
    return jax.jit(run, donate_argnums=0, out_shardings=None if mesh is None else NamedSharding(mesh, P()))
