"""Processes that call one function for this one: numbers go in by a pipe, values come out by another."""

import io
import marshal
import os
import pickle
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from types import CodeType
from typing import Any

import numpy as np

from kdjax.core.check import InputError
from kdjax.core.extra import extra

# SIGTERM may go to all processes of a job: what to do then is decided by the one that asks, not by those that read.
_PROGRAM = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.path[:] = {path!r}
from kdjax.data._workers import serve
serve()
"""


class Workers:
    """`read`, called in other processes; as many threads as there are processes may call it at a time.

    The processes form sessions of their own, out of reach of Ctrl-C, and end when their pipes do: with this process,
    however that ends. `close` ends them at once.

    Raises:
      InputError: when `read` cannot be sent to a process.
    """

    def __init__(self, read: Callable[[int], Any], count: int):
        try:
            self._read = _pickled(read)
        except Exception as error:
            why = " ".join(str(error).split())
            line = f"workers={count} is not accepted: the reader cannot be sent to another process ({why})"
            raise InputError(f"{line}; expected 0, which reads with threads") from None
        self._processes = [_start() for _ in range(count)]
        self._free = SimpleQueue()
        for process in self._processes:
            self._free.put((process, self._read))

    def __call__(self, number: int) -> Any:
        """`read(number)`, or what it raises; an InputError when the process has been killed."""
        process, first = self._free.get()
        try:
            if first:
                _send(process.stdin, first)
            _send(process.stdin, str(number).encode())
            reply, *arrays = _receive(process.stdout)
        except (OSError, EOFError, ValueError):  # ValueError: the pipe was closed here
            code = process.wait()
            why = ", for want of memory perhaps" if code == -signal.SIGKILL else ""
            line = f"workers={len(self._processes)}: a process that reads data has ended (exit code {code}{why})"
            raise InputError(f"{line}; accepted: fewer workers, or 0, which reads with threads") from None
        finally:
            self._free.put((process, None))
        value, error, where = pickle.loads(reply, buffers=arrays)
        if error is not None:
            error.add_note(f"in a worker process:\n{where}")
            raise error
        return value

    def close(self) -> None:
        """Ends all processes at once."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for file in filter(None, (process.stdin, process.stdout)):
                with suppress(OSError):
                    file.close()


def serve() -> None:
    """What a process does: receives `read`, then numbers, and answers each with a value or an exception."""
    with extra("run"):
        import cloudpickle

    # What `read` prints must not get between the values.
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    read = None
    with suppress(OSError, EOFError):  # the other side has gone
        (pickled,) = _receive(source)
        while True:
            (number,) = _receive(source)
            arrays = []
            try:
                read = read or pickle.loads(pickled)
                reply = cloudpickle.dumps((read(int(bytes(number))), None, None), protocol=5, buffer_callback=arrays.append)
            except Exception as error:
                reply, arrays = _travelling(error), []
            _send(sink, reply, *(a.raw() for a in arrays))
    os._exit(0)


def _pickled(read: Callable[[int], Any]) -> bytes:
    """`read` by value, its code with the names of its files: newer cloudpickles leave them out, and tracebacks would be blind."""
    with extra("run"):
        import cloudpickle

    class Pickler(cloudpickle.CloudPickler):
        def reducer_override(self, obj):  # both sides are the same interpreter, which `marshal` needs
            return (marshal.loads, (marshal.dumps(obj),)) if isinstance(obj, CodeType) else super().reducer_override(obj)

    file = io.BytesIO()
    Pickler(file).dump(read)
    return file.getvalue()


def _travelling(error: Exception) -> bytes:
    """An exception and its traceback as bytes; one that cannot travel becomes a RuntimeError with its words."""
    with extra("run"):
        import cloudpickle

    where = "".join(traceback.format_exception(error))
    try:
        reply = cloudpickle.dumps((None, error, where))
        pickle.loads(reply)
        return reply
    except Exception:
        return cloudpickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}"), where))


def _start() -> subprocess.Popen:
    program = _PROGRAM.format(path=sys.path)
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}  # an accelerator belongs to the process that trains
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, env=env, start_new_session=True)
    with suppress(ImportError, AttributeError, OSError):  # on Linux, a wider pipe wakes both sides less often
        import fcntl

        assert process.stdout
        fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, 2**20)
    return process


def _send(file: Any, *parts: Any) -> None:
    """Writes some parts, of any length; those that lie in arrays are not copied."""
    views = [memoryview(part) for part in parts]
    file.write(struct.pack(f"<{len(views) + 1}Q", len(views), *(v.nbytes for v in views)))
    for view in views:
        file.write(view)
    file.flush()


def _receive(file: Any) -> list[memoryview]:
    """What one `_send` wrote."""

    def fill(size):
        view = np.empty(size, np.uint8).data
        if file.readinto(view) < size:
            raise EOFError
        return view

    (count,) = struct.unpack("<Q", fill(8))
    return [fill(size) for size in struct.unpack(f"<{count}Q", fill(8 * count))]
