"""What a State's networks make of the rows of a split: outputs of all rows on the host, or sums that are added on the devices."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax.data import Sampler, Source, padded_batches, read_undamaged, resident, stream, take
from kdjax.train.devices import constrain_rows, own_rows, place, put_rows
from kdjax.train.members import over_members
from kdjax.train.run import Run, name_damaged, skips_damaged


class Collector:
    """Makes `Collect`s of the States of a stage, which share compiled programs.

    Args:
      predict: a Method's.
      run: how members run, on which devices, and how rows are read.
      splits: what `on_devices` gives.
      view: `batch of rows as they are read -> inputs` of the networks, any pytree with one leading axis of rows.
      needs: the networks that the method was given.
      batch: rows a pass of `Collect.__call__` and `Collect.rows`.
    """

    def __init__(
        self,
        predict: Callable,
        run: Run,
        splits: dict[str, Any],
        view: Callable,
        *,
        needs: Sequence[str] = (),
        batch: int = 256,
    ):
        self.run, self.splits, self.batch = run, splits, batch
        devices = run.devices.mesh.size

        def of_batch(f, columns, state, batch, args):
            """What `f` makes of a batch for every member, and the columns to keep."""
            if len(batch["index"]) % devices == 0:
                batch = constrain_rows(batch, run.devices)
            inputs, kept = view(batch), {*targets(view, batch), *columns}

            def one(state):
                return None, f(predict(state, inputs), batch, *args)

            return over_members(one, run.how, state)(state)[1], {name: x for name, x in batch.items() if name in kept}

        def of_split(f, columns, state, arrays, rows, args):
            return lax.map(lambda rows: of_batch(f, columns, state, take(arrays, rows), args), rows)

        def sum_batch(f, state, batch, where, args):
            return of_batch(f, (), state, batch, (where, *args))[0]

        def sum_split(f, state, arrays, rows, where, args):
            def of(rows, where):
                return sum_batch(f, state, take(arrays, rows), where, args)

            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of, rows[0], where[0]))
            return lax.scan(lambda total, now: (_add(total, of(*now)), None), zeros, (rows, where))[0]

        def of_state(f, state, args):
            return over_members(lambda state: (None, f(state, *args)), run.how, state)(state)[1]

        @cache
        def chosen(taps, given):
            """A function of outputs that takes those of some taps: the same one for the same choice, or it were compiled anew."""

            def f(outputs, batch):
                names = [n for n in outputs if given or n not in needs]
                # Plain dicts leave a compiled function in alphabetical order.
                return OrderedDict((n, {t: outputs[n][t] for t in taps if t in outputs[n]}) for n in names)

            return f

        compiled = partial(jax.jit, out_shardings=NamedSharding(run.devices.mesh, P()))
        self.of_batch, self.of_split = (compiled(f, static_argnums=(0, 1)) for f in (of_batch, of_split))
        self.sum_batch, self.sum_split = (compiled(f, static_argnums=0) for f in (sum_batch, sum_split))
        self.of_state = compiled(of_state, static_argnums=0)
        self.add, self.chosen = compiled(_add, donate_argnums=0), chosen

    def __call__(self, state: Any, *, alone: bool = False) -> "Collect":
        """For a State with members; with `alone`, of which there is one, nothing that is collected has an axis of members."""
        return Collect(self, state, alone)


class Collect:
    """What the networks of a State make of the rows of a split."""

    def __init__(self, programs: Collector, state: Any, alone: bool):
        self._programs, self._state, self._alone = programs, state, alone

    def __call__(
        self, split: str, *taps: str, given: bool = False, columns: Sequence[str] = ()
    ) -> tuple[dict[str, dict], dict[str, np.ndarray]]:
        """Taps of all rows of a split, in order.

        Args:
          split: a name in the splits of the run.
          *taps: which, where a network has them.
          given: whether the networks that the method was given (`"teacher"`) come too.
          columns: further columns to return.

        Returns:
          `({network: {tap: [members, N, ...]}}, {column: [N, ...]})`, NumPy arrays. The columns are those that the view does not
          read, which are targets rather than inputs, and in any case `"index"` and `"label"`.
        """
        return self._rows(split, self._programs.chosen(taps, given), tuple(columns))

    def rows(self, split: str, f: Callable, *args: Any, columns: Sequence[str] = ()) -> tuple[Any, dict[str, np.ndarray]]:
        """What a function makes of the outputs for all rows of a split, in order.

        Args:
          split: as above.
          f: `(outputs, batch, *args) -> tree` of arrays `[B, ...]`, of one member. `outputs` are those of `predict`, of the given
            networks too; `batch` holds all columns as they are read. It is compiled once as long as it is the same object: define
            it outside of what is called at every evaluation.
          *args: arrays that `f` needs, as the weights of a network that judges images.
          columns: as above.

        Returns:
          `(tree, columns)`, the arrays of the tree `[members, N, ...]`.
        """
        return self._rows(split, f, tuple(columns), *args)

    def state(self, f: Callable, *args: Any) -> Any:
        """What a function makes of the State itself, whatever split: of images that it generates, of a memory.

        Args:
          f: `(state, *args) -> tree` of arrays, of one member. It is compiled once as long as it is the same object. A stage with
            `samples` keeps all of its State for it; another one only what `predict` reads.
          *args: arrays that `f` needs.

        Returns:
          the tree, NumPy arrays `[members, ...]`.
        """
        return self._members(self._programs.of_state(f, self._state, args))

    def reduce(
        self,
        split: str,
        f: Callable,
        *args: Any,
        sampler: Sampler | None = None,
        steps: int | None = None,
        seed: int = 0,
        batch: int = 256,
    ) -> Any:
        """Sums over the batches of a split, added on the devices.

        Args:
          split: as above.
          f: `(outputs, batch, where, *args) -> sums`, a tree of arrays of any shapes, of one member; else as in `rows`. `where`
            is bool `[B]`: rows that only fill up the last batch are False and must not be added.
          *args: as in `rows`.
          sampler: which rows make a batch (episodes, pairs, clips); None: every row of the split once, in order.
          steps: how many batches of the sampler, from the first; None: its first epoch.
          seed: of the sampler.
          batch: rows a batch, where there is no sampler. It is rounded up to a multiple of the devices, but for 1: then rows may
            be of different sizes, where they are read ahead, and every size is compiled for itself. A batch that the devices do
            not divide is computed by each of them as a whole.

        Returns:
          the sums, NumPy arrays `[members, ...]`, the same on all processes.
        """
        made, found = self._programs, self._programs.splits[split]
        if sampler is None:
            rows, where = padded_batches(_size(found), batch if batch == 1 else _multiple(batch, made.run))
        else:
            rows = _sampled(sampler, seed, steps)
            where = np.ones(rows.shape, bool)
        if not isinstance(found, Source):
            return self._members(made.sum_split(f, self._state, found, rows, where, args))
        total = None
        for now, kept in zip(batches(found, rows, made.run), where, strict=True):
            sums = made.sum_batch(f, self._state, now, kept, args)
            total = sums if total is None else made.add(total, sums)
        return self._members(total)

    def _rows(self, split: str, f: Callable, columns: tuple[str, ...], *args: Any) -> tuple[Any, dict[str, np.ndarray]]:
        made, found = self._programs, self._programs.splits[split]
        size = _size(found)
        passes = padded_batches(size, _multiple(made.batch, made.run))[0]
        if isinstance(found, Source):
            read = batches(found, passes, made.run)
            parts = [jax.tree.map(np.asarray, made.of_batch(f, columns, self._state, now, args)) for now in read]
            tree, kept = jax.tree.map(lambda *xs: np.stack(xs), *parts)
        else:
            tree, kept = jax.tree.map(np.asarray, made.of_split(f, columns, self._state, found, passes, args))
        tree = self._members(jax.tree.map(lambda x: _flat(x)[:, :size], tree))
        return tree, {n: x.reshape(-1, *x.shape[2:])[:size] for n, x in kept.items()}

    def _members(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: np.asarray(x)[0] if self._alone else np.asarray(x), tree)


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
    """The splits of a run for `Collector`: arrays on the devices, or the sources of sets that are read ahead."""
    return {name: place(resident(source), run.devices) if run.resident else source for name, source in run.splits.items()}


def batches(source: Source, rows: np.ndarray, run: Run) -> Iterator[dict[str, jax.Array]]:
    """The rows `[passes, B]` of a source, batch by batch, read ahead; all processes must call it.

    They are spread over the mesh; where its devices do not divide a batch, each of them has it as a whole.
    """
    spread_out = rows.shape[1] % run.devices.mesh.size == 0
    own = rows[:, own_rows(run.devices, rows.shape[1])] if spread_out else rows
    read, damaged = partial(_read, source, own, skips_damaged(run)), []
    with closing(stream(read, start=0, stop=len(own), workers=run.workers, threads=run.threads)) as found:
        for one, lines in found:
            damaged += lines
            yield put_rows(one, run.devices) if spread_out else place(one, run.devices)
    name_damaged(run, damaged)


def _read(source: Source, rows: np.ndarray, skip: bool, number: int) -> tuple[dict, list[str]]:
    return read_undamaged(source, rows[number], skip=skip)


def _sampled(sampler: Sampler, seed: int, steps: int | None) -> np.ndarray:
    """The rows of a sampler's first steps, `[steps, B]`; a smaller step at the end of an epoch is left out."""
    count = steps or next(step for step in itertools.count(1) if sampler.epoch_of(step) > 0)
    drawn = [sampler.rows(seed, step) for step in range(count)]
    return np.stack([rows for rows in drawn if len(rows) == sampler.batch])


def _size(found: Any) -> int:
    return found.size if isinstance(found, Source) else len(found["index"])


def _multiple(batch: int, run: Run) -> int:
    """A batch, rounded up to a multiple of the devices."""
    return -(-batch // run.devices.mesh.size) * run.devices.mesh.size


def _add(total: Any, more: Any) -> Any:
    return jax.tree.map(jnp.add, total, more)


def _flat(x: np.ndarray) -> np.ndarray:
    """`[passes, members, batch, ...]` to `[members, passes * batch, ...]`."""
    x = np.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])
