"""Files of array_record: records read by number over many of them."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from kdjax.core.check import InputError
from kdjax.core.extra import extra
from kdjax.data.damaged import Damaged


class Shard(NamedTuple):
    """One file, and how many records its set says it holds.

    Attributes:
      path: the file.
      rows: the number of records.
    """

    path: str
    rows: int


class Records(NamedTuple):
    """All records of some files as one list.

    Attributes:
      held: what reads them: `__getitem__(row)` and `__getitems__(rows)`, as in array_record and TFDS.
      shards: the files, in order.
      ends: for each file the number of records up to its end.
    """

    held: Any
    shards: tuple[Shard, ...]
    ends: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of all records."""
        return self.ends[-1] if self.ends else 0

    def read(self, rows: Iterable[int]) -> list[bytes]:
        """The records with these numbers, in the order asked.

        Raises:
          Damaged: for the first that cannot be read.
        """
        rows = [int(row) for row in rows]
        try:
            return list(self.held.__getitems__(rows)) if rows else []
        except (RuntimeError, IndexError):  # of all rows together: which it was is found one by one
            return [self._one(at, row) for at, row in enumerate(rows)]

    def _one(self, at: int, row: int) -> bytes:
        try:
            return self.held[row]
        except (RuntimeError, IndexError) as error:
            raise Damaged(f"{self.name(row)}: cannot be read ({_reason(error)})", at) from None

    def name(self, row: int) -> str:
        """What messages call a record: its number in its file, from 0."""
        at = bisect_right(self.ends, row)
        path, rows = self.shards[at]
        return f"record {row - self.ends[at] + rows} of {path}"


def records_of(held: Any, shards: Sequence[Shard]) -> Records:
    """The records of some files.

    >>> records = records_of([b"a", b"b", b"c"], [Shard("x", 2), Shard("y", 1)])
    >>> records.size, records.name(2)
    (3, 'record 0 of y')
    """
    return Records(held, tuple(shards), tuple(accumulate(shard.rows for shard in shards)))


def check_shards(shards: Sequence[Shard]) -> None:
    """Opens every file once and compares the number of its records.

    Raises:
      InputError: when one is missing, damaged or has other records, or when they are more than a process may open.

    >>> check_shards([])
    """
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if len(shards) + 64 > allowed:
        most = f"a process may open {allowed} files here"
        raise InputError(
            f"{shards[0].path} and {len(shards) - 1} files more: {most}; expected `ulimit -n {2 * len(shards) + 64}` before"
        )
    with ThreadPoolExecutor(16) as threads:  # for the sake of file servers
        for problem in threads.map(_problem, shards):
            if problem:
                raise InputError(problem)


def _problem(shard: Shard) -> str:
    """What is wrong with a file; empty where nothing is."""
    with extra("run"):
        from array_record.python.array_record_module import ArrayRecordReader

    path, rows = shard
    if not os.path.isfile(path):
        return f"file {path} is {'no file' if os.path.exists(path) else 'missing'}: expected {rows} records in it"
    reader = ArrayRecordReader(path)
    found = reader.num_records()
    try:
        reader.close()
    except RuntimeError as error:
        return f"file {path} is damaged ({_reason(error)}): expected {rows} records in it"
    return "" if found == rows else f"file {path} holds {found} records: expected {rows}"


def _reason(error: Exception) -> str:
    """The words of array_record without its numbers."""
    text = " ".join(str(error).split()).partition(": ")[2] or str(error)
    return text.partition(" (")[0].partition(";")[0].partition(",")[0][:100] or type(error).__name__


def labels_of(records: Records, label: Callable[[bytes], int]) -> np.ndarray:
    """The labels of all records, read once; a record that cannot be read has the label of the next one that can.

    Args:
      records: where they are.
      label: of the bytes of a record; raises `Damaged` where there is none.

    Returns:
      int32 `[records.size]`.
    """
    size = records.size

    def chunk(start):
        rows = range(start, min(start + 256, size))
        try:
            return [label(x) for x in records.read(rows)]
        except Damaged:
            return [one(row) for row in rows]

    def one(row):
        try:
            return label(records.read([row])[0])
        except Damaged:
            return None

    with ThreadPoolExecutor(4) as threads:
        found = [x for part in threads.map(chunk, range(0, size, 256)) for x in part]
    for row in [row for row, x in enumerate(found) if x is None]:
        after = (found[(row + k) % size] for k in range(1, size))
        found[row] = next((x for x in after if x is not None), -1)
    return np.array(found, np.int32)
