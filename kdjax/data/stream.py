"""Reading ahead: the values of a function of a number, in order, by threads or by worker processes of grain."""

import atexit
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import spawn
from typing import Any

from kdjax.core.check import InputError, check_option

_STARTING = threading.Lock()
_STUCK = []  # pipelines that cannot be closed, kept because grain would wait for them when they are deleted


def stream(
    read: Callable[[int], Any], *, start: int, stop: int, workers: int = 0, threads: int = 4, ahead: int = 8
) -> Generator[Any]:
    """Yields `read(start)`, `read(start + 1)`, ... `read(stop - 1)`, read ahead of their use.

    The order is exact, numbers before `start` are never read, and about `ahead` values at most wait in memory (with
    workers, about two a worker if that is more). What `read` raises is raised here, at its place in the order. When the
    iterator is closed, or what consumes it raises, threads end after the read at hand and processes are stopped.

    Threads are enough where `read` spends its time in code that frees Python's lock, as the decoding of images does.
    Worker processes help where it does not. A worker gets `read` by cloudpickle, arrays that it holds included, and
    never imports the main module, so that scripts need no guard around them.

    Args:
      read: a function of a whole number.
      start: the first number.
      stop: the number after the last one.
      workers: processes that read; 0 reads with threads of this process.
      threads: threads that read when there are no workers; 0 reads when a value is asked for.
      ahead: how many values may wait, 1 or more.

    Returns:
      An iterator of `stop - start` values. Nothing starts before the first is asked for.

    Raises:
      InputError: for a bad option, or a `read` that cannot be sent to a worker; one line.

    >>> list(stream(lambda i: i * i, start=2, stop=5))
    [4, 9, 16]
    """
    check_option("start", start, lambda n: n >= 0, "0 or more")
    check_option("workers", workers, lambda n: n >= 0, "0 or more processes")
    check_option("threads", threads, lambda n: n >= 0, "0 or more")
    check_option("ahead", ahead, lambda n: n >= 1, "1 or more")
    if stop <= start:
        return (value for value in ())
    if workers:
        return _by_workers(_sent(read, workers), start, stop, min(workers, stop - start), ahead)
    return _by_threads(_Packed(read), start, stop, min(threads, ahead), ahead)


class _Packed:
    """`read`, with what it raises as a value beside its own: grain would change the one and drop None from the other."""

    def __init__(self, read: Callable[[int], Any]):
        self.read = read

    def __call__(self, number: int) -> tuple[Any, Exception | None]:
        try:
            return self.read(number), None
        except Exception as error:
            return None, error


class _Sent:
    """The same in a worker: `read` arrives as bytes, and value and exception leave as bytes.

    grain would put arrays into shared memory, which containers keep small and a killed process never frees.
    """

    def __init__(self, pickled: bytes):
        self.pickled = pickled
        self.packed: _Packed | None = None

    def __call__(self, number: int) -> bytes:
        import cloudpickle

        if self.packed is None:
            try:
                self.packed = _Packed(cloudpickle.loads(self.pickled))
            except Exception as error:
                return _travelling(error)
        value, error = self.packed(number)
        if error is not None:
            return _travelling(error)
        try:
            return cloudpickle.dumps((value, None))
        except Exception as error:
            return _travelling(error)


def _sent(read: Callable[[int], Any], workers: int) -> _Sent:
    import cloudpickle

    try:
        return _Sent(cloudpickle.dumps(read))
    except Exception as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"workers={workers}: the reader cannot be sent to another process ({why}); workers=0 uses threads"
        ) from None


def _travelling(error: Exception) -> bytes:
    """An exception as bytes, its traceback as a note; one that cannot travel becomes a RuntimeError with its words."""
    import cloudpickle

    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        data = cloudpickle.dumps((None, error.with_traceback(None)))
        cloudpickle.loads(data)
        return data
    except Exception:
        return cloudpickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))


def _by_threads(packed: _Packed, start: int, stop: int, threads: int, ahead: int) -> Iterator[Any]:
    import grain

    _parse_flags()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead if threads else 0)
    values = iter(grain.MapDataset.range(start, stop).map(packed).to_iter_dataset(options))
    try:
        for value, error in values:
            if error is not None:
                raise error
            yield value
    finally:
        values.close()


def _by_workers(sent: _Sent, start: int, stop: int, workers: int, ahead: int) -> Iterator[Any]:
    import cloudpickle
    import grain

    _parse_flags()
    read = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    # grain holds this many twice, once on each side of the pipe, and the worker has one in its hands.
    share = grain.MultiprocessingOptions(num_workers=1, per_worker_buffer_size=max(1, (ahead // workers - 1) // 2))
    # One pipeline a worker: in one for all, grain forgets on closing the workers whose turn has not come.
    parts = [
        iter(grain.MapDataset.range(start + w, stop, workers).map(sent).to_iter_dataset(read).mp_prefetch(share, _prepare))
        for w in range(workers)
    ]
    children = []
    at_exit = atexit.register(partial(_close_at_exit, parts))  # a program may end with the iterator open
    try:
        # grain makes semaphores here, for which Python may start a process and so lift the mask of _quiet_spawn.
        for part in parts:
            part.get_state()
        children += _started(parts)
        for number in range(start, stop):
            value, error = cloudpickle.loads(_next(parts[(number - start) % workers], children))
            if error is not None:
                raise error
            yield value
    finally:
        if parts:
            atexit.unregister(at_exit)
            _close(parts, children)


def _parse_flags() -> None:
    """grain reads absl flags, which nobody may have parsed; the command line is not looked at."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _prepare(worker: int, workers: int) -> None:
    """Runs in a worker before it reads: no accelerator, and no life after the parent's."""
    del worker, workers
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")
    parent = multiprocessing.parent_process()

    def watch():
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _started(parts: list) -> list:
    """Starts all workers at once; returns their processes."""
    with _STARTING, _quiet_spawn():
        before = set(multiprocessing.active_children())
        for part in parts:
            part.start_prefetch()
        deadline = time.monotonic() + 30
        while True:
            children = [c for c in multiprocessing.active_children() if c not in before]
            if len(children) >= len(parts) or time.monotonic() > deadline:
                return children
            time.sleep(0.002)


@contextmanager
def _quiet_spawn() -> Iterator[None]:
    """Processes spawned inside never import the main module, and are deaf to Ctrl-C and SIGTERM: their parent decides."""
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    whole = spawn.get_preparation_data
    spawn.get_preparation_data = lambda name: {k: v for k, v in whole(name).items() if not k.startswith("init_main")}
    try:
        yield
    finally:
        spawn.get_preparation_data = whole
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def _next(part: Iterator[bytes], children: list) -> bytes:
    """The next value of a worker. grain alone would wait for ever for one that was killed in the middle of a value."""
    box = queue.SimpleQueue()

    def get():
        try:
            box.put((next(part), None))
        except BaseException as error:
            box.put((b"", error))

    threading.Thread(target=get, daemon=True).start()
    while True:
        try:
            value, error = box.get(timeout=1)
        except queue.Empty:
            value, error = b"", None
        if value:
            return value
        if killed := [c.exitcode for c in children if c.exitcode]:
            line = f"a worker process that reads data was ended from outside (exit code {killed[0]}), for want of memory perhaps"
            raise InputError(f"{line}; accepted: fewer workers than {len(children)}, a smaller batch, or workers=0 (threads)")
        if error is not None:
            raise error


def _close(parts: list, children: list) -> None:
    """Stops the workers, and kills those that do not stop. A second call finds nothing to do."""
    closing = parts.copy()
    parts.clear()
    closers = [threading.Thread(target=part.close, daemon=True) for part in closing]
    for closer in closers:
        closer.start()
    deadline = time.monotonic() + (1 if any(c.exitcode for c in children) else 10)
    for closer in closers:
        closer.join(max(0, deadline - time.monotonic()))
    if any(closer.is_alive() for closer in closers):
        _STUCK.append(closing)
        for child in children:
            child.kill()
            child.join()


def _close_at_exit(parts: list) -> None:
    """The same where an interpreter that ends makes no more threads."""
    while parts:
        parts.pop().close()
