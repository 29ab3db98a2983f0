"""What the compiled block is fed with: rows of a resident set, or batches that are read ahead."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.data import Sampler, epochs, pieces, process_rows, read_undamaged, stream
from kdjax.train.devices import put_rows
from kdjax.train.run import Run, skips_damaged
from kdjax.train.stage import Stage, seeds_of
from kdjax.train.teacher_cache.store import Store

CHUNK_BYTES = 2**24  # of images in one compiled call, where they are read ahead


class Chunk(NamedTuple):
    """Some steps of a block, with equally many rows each.

    Attributes:
      steps: how many.
      images: rows of all its steps.
      now: what `block` takes for them: row numbers, or a batch each.
      epochs: int32 `[steps]`.
      damaged: one line for every row that could not be read and was replaced.
    """

    steps: int
    images: int
    now: Any
    epochs: np.ndarray
    damaged: list[str]


def feed(stage: Stage, run: Run, own: bool, start: int, outputs: Store | None = None) -> Generator[Chunk]:
    """The chunks from step `start` on. None crosses the end of a block, and their lengths follow from absolute steps alone.

    A smaller last step of an epoch (`Sampler.rest`) is a chunk of its own: what is compiled has batches of one size. Its rows are
    shared out like those of the others, so processes and devices must divide them too.

    Args:
      stage: whose rows.
      run: the run; without `run.resident` rows are read ahead by threads or worker processes.
      own: each member has its own rows.
      start: the first step: the end of a block.
      outputs: of the teacher of a stage with a `teacher_cache`, which are read with the rows.
    """
    length = chunk_of(stage, run, own, outputs)
    order = orders(stage, run, own)
    epoch_of = sampler_of(stage).epoch_of if stage.source else lambda step: 0
    count = -(-(stage.steps - start) // length)
    processes, process, local = jax.process_count(), jax.process_index(), run.devices.parallel == "pmap"
    group = sampler_of(stage).group if stage.source else 1

    def span(number, end=stage.steps):
        return range(start + number * length, min(start + (number + 1) * length, end))

    def numbers(steps):
        return np.array([epoch_of(step) for step in steps], np.int32)

    def own_part(rows):
        return rows[..., process_rows(np.arange(rows.shape[-1]), process, processes, group=group)]

    own_part(order(start))  # refuses what cannot be shared out before anything is read
    if stage.source is None or run.resident:
        for steps, rows in (piece for number in range(count) for piece in pieces(span(number), order)):
            now = own_part(rows) if local else rows
            yield Chunk(len(steps), _count(rows), {"index": now} if stage.source is None else now, numbers(steps), [])
        return

    read = _reader(stage.source, order, span, own_part, skip=skips_damaged(run))
    if outputs:
        views = stage.teacher_cache.views if stage.teacher_cache else 1
        read = _with_outputs(read, outputs, order, span, own_part, lambda step: epoch_of(step) % views)
    with closing(stream(read, start=0, stop=count, workers=run.workers, threads=run.threads)) as found:
        for number, batches in enumerate(found):
            for (steps, rows), (batch, damaged) in zip(pieces(span(number), order), batches, strict=True):
                now = batch if local else put_rows(batch, run.devices, axis=1 + own)
                yield Chunk(len(steps), _count(rows), now, numbers(steps), damaged)


def chunk_of(stage: Stage, run: Run, own: bool, outputs: Store | None = None) -> int:
    """Steps in one compiled call: the whole block, or as much of it as fits into `CHUNK_BYTES` of images and teacher outputs."""
    block = stage.pace.block
    if stage.source is None or run.resident:
        return block
    one = stage.source.read(np.zeros(1, np.int32))
    rows = stage.batch * (stage.members if own else 1)
    row = sum(np.asarray(x).nbytes for x in one.values()) + (outputs.row_bytes if outputs else 0)
    most = max(1, CHUNK_BYTES // (rows * row))
    return next(n for n in range(min(most, block), 0, -1) if block % n == 0)


def sampler_of(stage: Stage) -> Sampler:
    """Which rows a step sees: the stage's own sampler, or epochs over all rows of its source."""
    assert stage.source is not None
    return stage.sampler or epochs(stage.source.size, stage.batch)


def orders(stage: Stage, run: Run, own: bool) -> Callable[[int], np.ndarray]:
    """Makes `step -> rows`: int32 `[B]`, or `[members, B]` where each member has its own."""
    if stage.source is None:
        rows = np.arange(stage.batch, dtype=np.int32)
        return lambda step: np.broadcast_to(rows, (stage.members, stage.batch)) if own else rows
    rows_of = sampler_of(stage).rows
    if run.share == "batch":
        seed = run.data_seed
        return lambda step: rows_of(seed, step)
    seeds = [(run.data_seed << 32) + seed + 1 for seed in seeds_of(stage, run.seed)]
    if own:
        return lambda step: np.stack([rows_of(seed, step) for seed in seeds])
    return lambda step: rows_of(seeds[0], step)


def _count(rows: np.ndarray) -> int:
    """The rows `[steps, ..., B]` that a member sees."""
    return len(rows) * rows.shape[-1]


# Worker processes get what these two return by value: they load kdjax.data, not all of this package.
def _reader(source: Any, order: Callable, span: Callable, own_part: Callable, *, skip: bool) -> Callable[[int], list]:
    """Makes `number of a span -> [(batches, damaged), ...]`: this process's part of the rows of each piece."""

    def read(number):
        found = []
        for _, rows in pieces(span(number), order):
            rows = own_part(rows)
            flat, damaged = read_undamaged(source, rows.reshape(-1), skip=skip)
            found.append(({name: x.reshape(*rows.shape, *x.shape[1:]) for name, x in flat.items()}, damaged))
        return found

    return read


def _with_outputs(
    read: Callable, outputs: Store, order: Callable, span: Callable, own_part: Callable, view_of: Callable
) -> Callable[[int], list]:
    """`read` with the teacher's outputs for the same rows, each step's in its own view."""

    def both(number):
        found = []
        for (steps, rows), (batch, damaged) in zip(pieces(span(number), order), read(number), strict=True):
            views = np.array([view_of(step) for step in steps]).reshape(-1, *[1] * (rows.ndim - 1))
            found.append((batch | {"teacher": outputs.read(views, own_part(rows))}, damaged))
        return found

    return both
