"""Whole sets decoded into memory."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdjax.data.damaged import RUN, Damaged, nothing_sound
from kdjax.data.source import Source, row_labels
from kdjax.data.stream import stream

CHUNK = 256  # rows decoded at once
SMALL = 64 * 64  # pixels: below, threads wait for Python's lock more than they decode


class Decoded(NamedTuple):
    """All rows of a source.

    Attributes:
      columns: by name, `[N, ...]` each, zero where a row is damaged; not the `"index"`.
      labels: int32 `[N]`, the class of every row.
      damaged: for each row that could not be decoded a line that says why.
    """

    columns: dict[str, np.ndarray]
    labels: np.ndarray
    damaged: dict[int, str]


def decode_all(sources: Sequence[Source], shape: tuple[int, ...], *, skip: bool, workers: int = 0) -> list[Decoded]:
    """Reads all rows of some sources.

    Without workers, images of 64 x 64 pixels and more are decoded by threads, smaller ones one after the other, because
    threads would wait for each other.

    Args:
      sources: what to read.
      shape: of one image.
      skip: whether damaged rows are noted; if not, `Damaged` passes.
      workers: processes that decode; 0 is this one. Worth their start where decoding takes a minute and more.

    Returns:
      Decoded, for each source.

    Raises:
      Damaged: for a damaged row, without `skip`.

    >>> from kdjax.data.source import array_source
    >>> ones = array_source(np.ones((3, 2, 2, 1), np.uint8), np.arange(3))
    >>> decode_all([ones], (2, 2, 1), skip=False)[0].labels.tolist()
    [0, 1, 2]
    """
    # A set without rows is read once too, for its columns.
    chunks = [(which, start) for which, source in enumerate(sources) for start in range(0, max(source.size, 1), CHUNK)]

    def chunk(number: int) -> Any:
        which, start = chunks[number]
        rows = np.arange(start, min(start + CHUNK, sources[which].size), dtype=np.int32)
        try:
            return sources[which].read(rows), {}
        except Damaged:
            if not skip:
                raise
        return _one_by_one(sources[which], rows)

    out: list[Decoded] = [Decoded({}, np.full(s.size, -1, np.int32), {}) for s in sources]
    threads = decoding_threads(shape) if len(chunks) > 1 else 0
    for (which, _), (batch, damaged) in zip(chunks, _in_order(chunk, len(chunks), workers, threads), strict=True):
        at, known = batch.pop("index"), out[which]
        for name, x in batch.items():
            if name not in known.columns:
                known.columns[name] = np.zeros((sources[which].size, *x.shape[1:]), x.dtype)
            known.columns[name][at] = x
        known.damaged.update(damaged)
    return [_with_labels(d, s) for d, s in zip(out, sources, strict=True)]


def _with_labels(found: Decoded, source: Source) -> Decoded:
    """With the class of every row, of damaged ones too."""
    if not found.damaged:
        return found._replace(labels=row_labels(found.columns["label"]))
    labels = source.labels()
    if found.columns["label"].ndim == 1:
        found.columns["label"][:] = labels
    return found._replace(labels=labels)


def decoding_threads(shape: tuple[int, ...]) -> int:
    """How many threads decode rows of a shape best: 4 for images `(H, W, C)` of 64 x 64 pixels or more, else 0.

    Measured on two cores: 12,700 PNGs of 28 x 28 pixels a second by one thread, 6,600 by four; 710 and 1,000 JPEGs of 256 x 256.

    >>> decoding_threads((28, 28, 1)), decoding_threads((224, 224, 3))
    (0, 4)
    """
    return 4 if len(shape) == 3 and shape[0] * shape[1] >= SMALL else 0


def _in_order(read, count: int, workers: int, threads: int) -> Iterator[Any]:
    if not workers and not threads:
        return map(read, range(count))
    return stream(read, start=0, stop=count, workers=workers, threads=threads)


def _one_by_one(source: Source, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """What can be read of some rows, and what is wrong with the others."""
    batches, damaged = [source.read(rows[:0])], {}
    for row in rows:
        try:
            batches.append(source.read(np.array([row])))
        except Damaged as error:
            damaged[int(row)] = error.what
    return {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}, damaged


def step_over(rows: np.ndarray, damaged: dict[int, str]) -> np.ndarray:
    """The rows of a source with those that are damaged replaced as `read_undamaged` replaces them.

    Args:
      rows: the rows of the whole set that make up the source, `[K]`.
      damaged: rows of the whole set.

    Returns:
      `[K]`; for each damaged row the next of the source that is not, after the last the first.

    Raises:
      InputError: as in `read_undamaged`.

    >>> step_over(np.array([0, 2, 4, 5]), {2: "image c.png: ...", 5: "image f.png: ..."}).tolist()
    [0, 4, 4, 0]
    """
    if not damaged:
        return rows
    good = np.flatnonzero(~np.isin(rows, list(damaged)))
    bad = np.flatnonzero(np.isin(rows, list(damaged)))
    most = min(RUN, len(rows))
    to = good[np.searchsorted(good, bad) % len(good)] if len(good) else bad
    for at, far in zip(bad, (to - bad) % len(rows), strict=True):
        if far >= most or not len(good):
            raise nothing_sound(damaged[int(rows[at])], most)
    out = rows.copy()
    out[bad] = rows[to]
    return out
