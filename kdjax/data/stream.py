"""Reading ahead: the values of a function of a number, in order, by threads or by worker processes."""

from collections.abc import Callable, Generator
from typing import Any

from kdjax.core.check import check_option
from kdjax.core.extra import extra
from kdjax.data._workers import Workers


def stream(
    read: Callable[[int], Any], *, start: int, stop: int, workers: int = 0, threads: int = 4, ahead: int = 8
) -> Generator[Any, None, None]:
    """Yields `read(start)`, `read(start + 1)`, ... `read(stop - 1)`, read ahead of their use by grain.

    The order is exact, numbers before `start` are never read, and at most `ahead` values wait in memory. What `read`
    raises is raised here, at its place in the order. Closing the iterator, leaving a loop over it, or an exception in
    what uses it ends the reading: processes are gone at once, threads after the read at hand.

    Threads are enough where `read` spends its time in code that frees Python's lock, as the decoding of images does.
    Processes help where it does not. A process gets `read` by cloudpickle, arrays that it holds included; it starts
    in about a second, sees no accelerator and never imports the main module, so that a script needs no guard.

    Args:
      read: a function of a whole number; several threads call it at a time.
      start: the first number.
      stop: the number after the last one.
      workers: processes that read; 0 reads with threads of this process.
      threads: threads that read when there are no workers; 0 reads when a value is asked for.
      ahead: how many values may wait, 1 or more.

    Returns:
      A generator of `stop - start` values. Nothing starts before the first is asked for.

    Raises:
      InputError: for a bad option, a `read` that cannot be sent to a worker, or a worker that was killed; one line.

    >>> list(stream(lambda i: i * i, start=2, stop=5))
    [4, 9, 16]
    """
    check_option("start", start, lambda n: n >= 0, "0 or more")
    check_option("workers", workers, lambda n: n >= 0, "0 or more processes")
    check_option("threads", threads, lambda n: n >= 0, "0 or more")
    check_option("ahead", ahead, lambda n: n >= 1, "1 or more")
    return _read_ahead(read, start, max(start, stop), min(workers, stop - start, ahead), min(threads, ahead), ahead)


def _read_ahead(
    read: Callable[[int], Any], start: int, stop: int, workers: int, threads: int, ahead: int
) -> Generator[Any, None, None]:
    with extra("run"):
        import grain

    if start == stop:
        return

    # grain's own worker processes are not used. With batches as large as images make them, they hang on closing or when
    # one is killed (a message is left half written), or need the shared memory that containers keep small. So a thread of
    # grain waits for each of ours.
    pool = Workers(read, workers) if workers else None
    options = grain.ReadOptions(num_threads=workers or threads, prefetch_buffer_size=ahead if workers or threads else 0)
    values = iter(grain.MapDataset.range(start, stop).map(_packed(pool or read)).to_iter_dataset(options))
    try:
        for value, error in values:
            if error is not None:
                raise error
            yield value
    finally:
        values.close()
        if pool:
            pool.close()


def _packed(read: Callable[[int], Any]) -> Callable[[int], tuple[Any, Exception | None]]:
    """`read`, with what it raises as a value of its own: grain would change an exception, and skip None."""

    def call(number):
        try:
            return read(number), None
        except Exception as error:
            return None, error

    return call
