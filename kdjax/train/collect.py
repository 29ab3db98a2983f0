"""Outputs of a State's networks over a whole split."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax.data import Source, padded_batches, read_sound, resident, stream, take
from kdjax.train.devices import constrain_rows, own_rows, place, put_rows
from kdjax.train.members import over_members
from kdjax.train.run import Run, name_damaged, skips_damaged


def collector(
    predict: Callable, run: Run, splits: dict[str, Any], view: Callable, *, needs: Sequence[str] = (), batch: int = 256
) -> Callable:
    """Makes `collect(state, split, *taps)`, compiled once for each split and choice of taps.

    It returns `({network: {tap: [members, N, ...]}}, labels [N])` as NumPy arrays, for the networks that the method trains and,
    with `given=True`, for those it was given (`"teacher"`).

    Args:
      predict: a Method's.
      run: how members run, on which devices, and how rows are read.
      splits: what `on_devices` gives.
      view: `images as they are read -> images` for the networks.
      needs: the networks it was given.
      batch: rows a pass, rounded up to a multiple of the devices.
    """
    batch = -(-batch // run.devices.mesh.size) * run.devices.mesh.size

    def outputs_of(taps, given, state, rows):
        images = view(constrain_rows(rows["image"], run.devices))

        def one(state):
            outputs = predict(state, images)
            asked = [n for n in outputs if given or n not in needs]
            # Plain dicts leave a compiled function in alphabetical order.
            return None, OrderedDict((n, {t: outputs[n][t] for t in taps if t in outputs[n]}) for n in asked)

        return over_members(one, run.how, state)(state)[1], rows["label"]

    def over_rows(taps, given, state, arrays, rows):
        return lax.map(lambda rows: outputs_of(taps, given, state, take(arrays, rows)), rows)

    compiled = partial(jax.jit, static_argnums=(0, 1), out_shardings=NamedSharding(run.devices.mesh, P()))
    whole, single = compiled(over_rows), compiled(outputs_of)

    def collect(state: Any, split: str, *taps: str, given: bool = False) -> tuple[dict, np.ndarray]:
        found = splits[split]
        if isinstance(found, Source):
            passes = padded_batches(found.size, batch)[0]
            parts = [jax.tree.map(np.asarray, single(taps, given, state, rows)) for rows in batches(found, passes, run)]
            outputs, labels = jax.tree.map(lambda *xs: np.stack(xs), *parts)
            size = found.size
        else:
            size = len(found["label"])
            outputs, labels = jax.tree.map(np.asarray, whole(taps, given, state, found, padded_batches(size, batch)[0]))
        return jax.tree.map(lambda x: _flat(x)[:, :size], outputs), labels.reshape(-1)[:size]

    return collect


def on_devices(run: Run) -> dict[str, Any]:
    """The splits of a run for `collector`: arrays on the devices, or the sources of sets that are read ahead."""
    return {name: place(resident(source), run.devices) if run.resident else source for name, source in run.splits.items()}


def batches(source: Source, rows: np.ndarray, run: Run) -> Iterator[dict[str, jax.Array]]:
    """The rows `[passes, B]` of a source, batch by batch, read ahead and spread over the mesh; all processes must call it."""
    rows = rows[:, own_rows(run.devices, rows.shape[1])]
    read, damaged = partial(_read, source, rows, skips_damaged(run)), []
    with closing(stream(read, start=0, stop=len(rows), workers=run.workers, threads=run.threads)) as found:
        for one, lines in found:
            damaged += lines
            yield put_rows({name: one[name] for name in ("image", "label", "index")}, run.devices)
    name_damaged(run, damaged)


def _read(source: Source, rows: np.ndarray, skip: bool, number: int) -> tuple[dict, list[str]]:
    return read_sound(source, rows[number], skip=skip)


def _flat(x: np.ndarray) -> np.ndarray:
    """`[passes, members, batch, ...]` to `[members, passes * batch, ...]`."""
    x = np.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])
