"""What the compiled block is fed with: rows of a resident set, or batches that are read ahead."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.data import Sampler, epochs, process_rows, read_sound, stream
from kdjax.train.damaged import goes_on
from kdjax.train.devices import put_rows
from kdjax.train.run import Run
from kdjax.train.stage import Stage, seeds_of
from kdjax.train.stored import Stored

CHUNK_BYTES = 2**24  # of images in one compiled call, where they are read ahead


class Chunk(NamedTuple):
    """Some steps of a block.

    Attributes:
      steps: how many.
      now: what `block` takes for them: row numbers, or a batch each.
      epochs: int32 `[steps]`.
      damaged: one line for every row that could not be read and was replaced.
    """

    steps: int
    now: Any
    epochs: np.ndarray
    damaged: list[str]


def feed(stage: Stage, run: Run, own: bool, start: int, outputs: Stored | None = None) -> Generator[Chunk]:
    """The chunks from step `start` on. None crosses the end of a block, and their lengths follow from absolute steps alone.

    Args:
      stage: whose rows.
      run: the run; without `run.resident` rows are read ahead by threads or worker processes.
      own: each member has its own rows.
      start: the first step: the end of a block.
      outputs: of the teacher of a stage with `taught`, which are read with the rows.
    """
    length = chunk_of(stage, run, own, outputs)
    order = orders(stage, run, own)
    epoch_of = sampler_of(stage).epoch_of if stage.source else lambda step: 0
    count = -(-(stage.steps - start) // length)
    processes, local = jax.process_count(), run.devices.parallel == "pmap"
    group = sampler_of(stage).group if stage.source else 1
    part = process_rows(np.arange(stage.batch), jax.process_index(), processes, group=group)

    def span(number, end=stage.steps):
        return range(start + number * length, min(start + (number + 1) * length, end))

    def numbers(steps):
        return np.array([epoch_of(step) for step in steps], np.int32)

    if stage.source is None or run.resident:
        for steps in map(span, range(count)):
            rows = np.stack([order(step) for step in steps])
            rows = rows[..., part] if local else rows
            yield Chunk(len(steps), {"index": rows} if stage.source is None else rows, numbers(steps), [])
        return

    read = _reader(stage.source, order, span, part, skip=goes_on(run))
    if outputs:
        views = stage.taught.views if stage.taught else 1
        read = _with_outputs(read, outputs, order, span, part, lambda step: epoch_of(step) % views)
    with closing(stream(read, start=0, stop=count, workers=run.workers, threads=run.threads)) as batches:
        for number, (batch, damaged) in enumerate(batches):
            now = batch if local else put_rows(batch, run.devices, axis=1 + own)
            yield Chunk(len(span(number)), now, numbers(span(number)), damaged)


def chunk_of(stage: Stage, run: Run, own: bool, outputs: Stored | None = None) -> int:
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


def _reader(source: Any, order: Callable, span: Callable, part: np.ndarray, *, skip: bool) -> Callable[[int], tuple]:
    """Makes `number of a span -> (batches, damaged)`: this process's part of the rows of its steps, `[steps, ..., B, ...]`."""

    def read(number):
        rows = np.stack([order(step)[..., part] for step in span(number)])
        flat, damaged = read_sound(source, rows.reshape(-1), skip=skip)
        return {name: x.reshape(*rows.shape, *x.shape[1:]) for name, x in flat.items()}, damaged

    return read


def _with_outputs(
    read: Callable, outputs: Stored, order: Callable, span: Callable, part: np.ndarray, view_of: Callable
) -> Callable[[int], tuple]:
    """`read` with the teacher's outputs for the same rows, each step's in its own view."""

    def both(number):
        batch, damaged = read(number)
        rows = np.stack([order(step)[..., part] for step in span(number)])
        views = np.array([view_of(step) for step in span(number)]).reshape(-1, *[1] * (rows.ndim - 1))
        return batch | {"teacher": outputs.read(views, rows)}, damaged

    return both
