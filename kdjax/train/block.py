"""The compiled inner loop: some steps as one `lax.scan`, over a set that lives on the device or over batches read ahead."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core import example_keys, on_parts, split
from kdjax.core.state import check_same_form
from kdjax.data import take
from kdjax.train.devices import Devices, constrain_rows, spread
from kdjax.train.members import over_members
from kdjax.train.stage import Stage
from kdjax.train.teacher_cache.spec import decode


def augmented(stage: Stage, key: jax.Array, batch: dict[str, Any], view: Any) -> dict[str, Any]:
    """A batch as the method sees it in a view: the number of an epoch, or that of a view whose teacher outputs are kept."""
    draw = jax.random.fold_in(jax.random.fold_in(key, 0), view)
    return stage.augment(example_keys(draw, batch["index"]), batch)


def cut(arrays: dict[str, Any], rows: jax.Array, view: Any) -> dict[str, Any]:
    """The batch at `rows` of a resident set; of the teacher's outputs in it, `[views, N, ...]` each, those of one view."""
    found: dict[str, Any] = take({name: x for name, x in arrays.items() if name != "teacher"}, rows)
    if outputs := arrays.get("teacher"):
        found |= {"teacher": {name: x[view, rows] for name, x in outputs.items()}}
    return found


def block(stage: Stage, state: Any, how: str, own: bool, devices: Devices) -> Callable:
    """Compiles `(moving, frozen, arrays, keys, now, epochs, first) -> (moving, metrics)`; `moving` is donated.

    Args:
      stage: what to run.
      state: the State with members (arrays or shapes).
      how: how members run.
      own: each member has its own rows and keys, instead of sharing a batch.
      devices: to spread batches over.

    Returns:
      the compiled function. `now` holds what k steps see: rows of `arrays`, `[k, B]`, or `[k, members, B]` with `own`; where
      `arrays` is None, whole batches with those leading axes. `keys` is one key, or one a member; `epochs` is `[k]`; `first` the
      number of the first step; the metrics are means over the steps, `[members]` each.
    """

    def batch_of(arrays, key, now, epoch):
        view = epoch % stage.teacher_cache.views if stage.teacher_cache else epoch
        batch = now if arrays is None else cut(arrays, now, view)
        if devices.axis_name is None:
            batch = constrain_rows(batch, devices)
        if stage.source is None:
            return batch
        rows = {name: x for name, x in batch.items() if name != "teacher"}
        cached = {"teacher": decode(stage.teacher_cache, batch["teacher"])} if stage.teacher_cache else {}
        return augmented(stage, key, rows, view) | cached

    def run(moving, frozen, arrays, keys, now, epochs, first):
        step = on_parts(over_members(stage.method.step, how, state, own, own))

        def body(moving, each):
            now, epoch, number = each
            if own:
                batch = jax.vmap(batch_of, in_axes=(None, 0, 0, None))(arrays, keys, now, epoch)
                key = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(k, 1), number))(keys)
            else:
                batch = batch_of(arrays, keys, now, epoch)
                key = jax.random.fold_in(jax.random.fold_in(keys, 1), number)
            new, metrics = step(moving, frozen, batch, key)
            check_same_form(moving, new)
            return new, metrics

        numbers = first + jnp.arange(epochs.shape[0], dtype=jnp.int32)
        moving, metrics = lax.scan(body, moving, (now, epochs, numbers))
        return moving, jax.tree.map(lambda x: jnp.mean(x, 0), metrics)

    return spread(run, devices, split(state)[0], axis=1 + own)
