"""Several processes as one run: they join, and each of them ends in one line when another one is gone."""

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import jax

from kdjax.core import InputError
from kdjax.train.processes import gathered, together

PATIENCE = 10.0  # seconds in which processes that end for the same reason do so
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # a machine that is gone is noticed after 20 s


def initialize(address: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """As `jax.distributed.initialize`, but every process hears at once of one that is gone, says so in one line and exits with 1.

    Each process holds a connection to process 0, and the system closes it when the process ends, however it does. JAX by itself
    notices after up to 100 s, and aborts. Process 0 listens on the address that is named and on no other, where it is its own.

    Args:
      address: `<host>:<port>` of process 0.
      processes: how many there are.
      process: the number of this one, from 0. What is None is found out from SLURM, Open MPI, Kubernetes or a TPU pod.

    Raises:
      ValueError: where something is None and cannot be found out.
      RuntimeError: where they cannot join.
    """
    from jax._src.clusters import ClusterEnv

    global _watch
    address = address or os.environ.get("JAX_COORDINATOR_ADDRESS")
    found = ClusterEnv.auto_detect_unset_distributed_params(address, processes, process, None, None, 300)
    address, processes, process, local_devices = found
    if address is None or processes is None or process is None:
        raise ValueError("the address of process 0, the number of processes and that of this one are not known")
    host, port = _parts(address)
    own = _own_address(host) if process == 0 else ""
    jax.distributed.initialize(
        address if process == 0 else _relay((host, port)),
        processes,
        process,
        local_device_ids=local_devices,
        coordinator_bind_address=_joined(own, port) if own else None,
        cluster_detection_method="deactivate",
    )
    if processes > 1:
        _watch = _Watch(host, own, processes, process)


def leave(seconds: float | None = None) -> bool:
    """Says that this process is done; true when all are, within so many seconds. Until then it is still watched.

    >>> leave()  # alone
    True
    """
    return _watch is None or _watch.leave(seconds)


@contextmanager
def watched(alone: Callable[[BaseException], int]) -> Iterator[None]:
    """What all processes do together: they reach its end, or are refused, or hear that one of them is gone.

    Args:
      alone: tells of an error that the others do not have, and gives the exit code of this process, which is then gone for them.
    """
    try:
        yield
    except BaseException as error:
        # An error that follows from another process's end is not told: this process ends while it waits here.
        if not leave(PATIENCE):
            code = alone(error)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # JAX's own way out waits for the others
        raise
    leave()


class _Watch:
    """The connections between process 0 and the others, and what is said on them: `left`, `all left`, `gone <process>`."""

    def __init__(self, host: str, own: str, processes: int, process: int):
        self._process, self._processes = process, processes
        self._left: set[int] = set()
        self._all_left, self._lock = threading.Event(), threading.Lock()
        server = _listening(own) if process == 0 else None
        port, token = gathered(server and [server.getsockname()[1], secrets.token_hex(16)])[0]
        self._lines = together(lambda: _accepted(server, token, processes) if server else _connected(host, port, token, process))
        for other, line in self._lines.items():
            _start(self._listen, other, line)

    def leave(self, seconds: float | None) -> bool:
        if self._process == 0:
            self._note_left(0)
        else:
            self._say("left")
        return self._all_left.wait(seconds)

    def _listen(self, other: int, line: socket.socket) -> None:
        with suppress(OSError), line.makefile() as words:
            for word in words:
                what, _, number = word.rstrip("\n").partition(" ")
                if what == "gone":
                    self._end(int(number))
                elif self._process == 0:
                    self._note_left(other)
                else:
                    self._all_left.set()
        if not self._all_left.is_set():
            self._end(other)

    def _note_left(self, process: int) -> None:
        with self._lock:
            self._left.add(process)
            if len(self._left) == self._processes and not self._all_left.is_set():
                self._say("all left")
                self._all_left.set()

    def _end(self, gone: int) -> None:
        with self._lock:
            os.write(2, f"error: process {gone} is gone; the same command goes on\n".encode())
            if self._process == 0:
                self._say(f"gone {gone}")
            os._exit(1)

    def _say(self, words: str) -> None:
        for line in self._lines.values():
            with suppress(OSError):  # the thread that listens there hears of it
                line.sendall(f"{words}\n".encode())


_watch: _Watch | None = None


def _accepted(server: socket.socket, token: str, processes: int) -> dict[int, socket.socket]:
    lines: dict[int, socket.socket] = {}
    server.settimeout(60)
    with server:
        while len(lines) < processes - 1:
            try:
                line, _ = server.accept()
            except TimeoutError:
                raise InputError(f"only {len(lines) + 1} of {processes} processes have reached process 0") from None
            process = _introduced(line, token)
            if process is None:  # a stranger
                line.close()
            else:
                lines[process] = _kept_alive(line)
    return lines


def _introduced(line: socket.socket, token: str) -> int | None:
    line.settimeout(5)
    with suppress(OSError, ValueError):
        said, process = line.recv(100).split()
        return int(process) if secrets.compare_digest(said, token.encode()) else None
    return None


def _connected(host: str, port: int, token: str, process: int) -> dict[int, socket.socket]:
    try:
        line = socket.create_connection((host, port), timeout=30)
        line.sendall(f"{token} {process}".encode())
    except OSError as error:
        raise InputError(f"{_joined(host, port)} of process 0 is not reached ({error.strerror or error})") from None
    return {0: _kept_alive(line)}


def _kept_alive(line: socket.socket) -> socket.socket:
    line.settimeout(None)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return line


def _relay(address: tuple[str, int]) -> str:
    """An address on this machine that leads to another one and outlives it for a while.

    JAX's client aborts the moment it loses process 0; behind a relay it does not see that before the process has ended by itself.
    """
    server = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            near, _ = server.accept()
            _start(connect, near)

    def connect(near):
        try:
            far = socket.create_connection(address, timeout=10)
        except OSError:  # not there yet: JAX's client tries again
            return near.close()
        far.settimeout(None)
        with near, far:
            there = _start(pass_on, near, far, 0)
            pass_on(far, near, PATIENCE)
            there.join()

    def pass_on(source, target, held_back):
        with suppress(OSError):
            while data := source.recv(2**16):
                target.sendall(data)
        time.sleep(held_back)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    _start(accept)
    return _joined(*server.getsockname())


def _own_address(host: str) -> str:
    """Where process 0 listens: the address that was named, where it is one of this machine; empty is everywhere.

    A machine's own name may lead to its loopback, where no other machine gets; an address may be one of a router before it.
    """
    if "JAX_COORDINATOR_BIND_ADDRESS" in os.environ:
        return ""
    found = sorted({str(at[0]) for *_, at in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}, key=lambda x: ":" in x)
    with suppress(OSError), _listening(found[0]):
        told = host == "localhost" or host == found[0]
        return found[0] if told or not ip_address(found[0].partition("%")[0]).is_loopback else ""
    return ""


def _listening(address: str) -> socket.socket:
    if address:
        return socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    both = socket.has_dualstack_ipv6()
    return socket.create_server(("", 0), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _start(f: Callable, *args: object) -> threading.Thread:
    thread = threading.Thread(target=f, args=args, daemon=True)
    thread.start()
    return thread
