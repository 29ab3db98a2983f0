"""Outputs of a State's networks over a whole split, and the columns to compare them with."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """Makes `state -> collect`, and `collect(split, *taps, given=False) -> (outputs, columns)`, compiled once for each split and
    choice of taps.

    `outputs` is `{network: {tap: [members, N, ...]}}`, for the networks that the method trains and, with `given=True`, for those it
    was given (`"teacher"`). `columns` is `{name: [N, ...]}`: those columns of the split that the view does not read, which are
    targets rather than inputs, and in any case `"index"` and `"label"`; with `columns=("image",)` also the columns named so. All
    are NumPy arrays, and their rows are those of the split in order.

    Args:
      predict: a Method's.
      run: how members run, on which devices, and how rows are read.
      splits: what `on_devices` gives.
      view: `batch of rows as they are read -> inputs` of the networks, any pytree with one leading axis of rows.
      needs: the networks it was given.
      batch: rows a pass, rounded up to a multiple of the devices.
    """
    batch = -(-batch // run.devices.mesh.size) * run.devices.mesh.size

    def outputs_of(asked, state, rows):
        taps, given, columns = asked
        rows = constrain_rows(rows, run.devices)
        inputs = view(rows)

        def one(state):
            outputs = predict(state, inputs)
            names = [n for n in outputs if given or n not in needs]
            # Plain dicts leave a compiled function in alphabetical order.
            return None, OrderedDict((n, {t: outputs[n][t] for t in taps if t in outputs[n]}) for n in names)

        found, kept = over_members(one, run.how, state)(state)[1], {*targets(view, rows), *columns}
        return found, {name: x for name, x in rows.items() if name in kept}

    def over_rows(asked, state, arrays, rows):
        return lax.map(lambda rows: outputs_of(asked, state, take(arrays, rows)), rows)

    compiled = partial(jax.jit, static_argnums=0, out_shardings=NamedSharding(run.devices.mesh, P()))
    whole, single = compiled(over_rows), compiled(outputs_of)

    def collect(
        state: Any, split: str, *taps: str, given: bool = False, columns: Sequence[str] = ()
    ) -> tuple[dict[str, dict], dict[str, np.ndarray]]:
        found, asked = splits[split], (taps, given, tuple(columns))
        if isinstance(found, Source):
            size = found.size
            passes = padded_batches(size, batch)[0]
            parts = [jax.tree.map(np.asarray, single(asked, state, rows)) for rows in batches(found, passes, run)]
            outputs, kept = jax.tree.map(lambda *xs: np.stack(xs), *parts)
        else:
            size = len(found["index"])
            outputs, kept = jax.tree.map(np.asarray, whole(asked, state, found, padded_batches(size, batch)[0]))
        kept = {name: x.reshape(-1, *x.shape[2:])[:size] for name, x in kept.items()}
        return jax.tree.map(lambda x: _flat(x)[:, :size], outputs), kept

    return lambda state: partial(collect, state)


def targets(view: Callable, rows: Mapping[str, Any]) -> list[str]:
    """The columns that a view does not read, and `"index"` and `"label"`.

    Args:
      view: `batch -> inputs`.
      rows: a batch, arrays or shapes.

    >>> rows = {"image": np.zeros((1, 2, 2, 1)), "mask": np.zeros((1, 2, 2)), "index": np.zeros(1)}
    >>> targets(lambda batch: batch["image"], rows)
    ['index', 'mask']
    """
    names = sorted(rows)
    traced = jax.make_jaxpr(lambda *columns: view(dict(zip(names, columns, strict=True))))(*(rows[name] for name in names)).jaxpr
    read = {id(x) for x in [*traced.outvars, *(x for equation in traced.eqns for x in equation.invars)]}
    return [n for n, x in zip(names, traced.invars, strict=True) if id(x) not in read or n in ("index", "label")]


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
            yield put_rows(one, run.devices)
    name_damaged(run, damaged)


def _read(source: Source, rows: np.ndarray, skip: bool, number: int) -> tuple[dict, list[str]]:
    return read_sound(source, rows[number], skip=skip)


def _flat(x: np.ndarray) -> np.ndarray:
    """`[passes, members, batch, ...]` to `[members, passes * batch, ...]`."""
    x = np.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])
