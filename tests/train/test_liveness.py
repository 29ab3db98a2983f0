"""Processes on this machine's loopback, one of which is killed or fails: the others say which, in one line, and end."""

import re
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from kdjax.train import liveness

HERE = Path(__file__).parent


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ended(what, kill=None):
    """Exit codes and what was said of three processes; `kill` of them dies once all are there."""
    address = f"127.0.0.1:{free_port()}"
    words = [[sys.executable, "alive.py", address, str(i), "3", what] for i in range(3)]
    running = [subprocess.Popen(w, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for w in words]
    said = [[], [], []]
    for lines, process in zip(said, running, strict=True):
        assert process.stderr
        while "here\n" not in lines and (line := process.stderr.readline()):
            lines.append(line)
    if kill is not None:
        running[kill].kill()
    for lines, process in zip(said, running, strict=True):
        _, rest = process.communicate(timeout=60)
        lines += rest.splitlines(keepends=True)
    return [(process.returncode, lines) for process, lines in zip(running, said, strict=True)]


def gone(process):
    return (1, ["here\n", f"error: process {process} is gone; the same command goes on\n"])


@pytest.mark.parametrize(("what", "killed"), [("together", 1), ("apart", 0)])  # while they wait for each other, and while not
def test_a_lost_process_ends_the_others_in_one_line(killed, what):
    found = ended(what, kill=killed)
    assert found.pop(killed)[0] == -9
    assert found == [gone(killed)] * 2


def test_an_error_of_one_process_is_told_there_and_ends_the_others():
    found = ended("one fails")
    assert found == [gone(1), (3, ["here\n", "told: no from 1\n"]), gone(1)]


def test_an_error_of_all_processes_is_told_by_all():
    for code, lines in ended("all fail"):
        assert code == 1 and lines[1].startswith("Traceback") and lines[-1] == "ValueError: no from all\n"


def test_process_0_listens_where_it_is_told(monkeypatch):
    assert liveness._own_address("127.0.0.1") == liveness._own_address("localhost") == "127.0.0.1"
    named = {"here": "127.0.1.1", "router": "203.0.113.7", "inside": "127.0.0.1"}
    asked = lambda host, *_, **__: [(socket.AF_INET, 1, 6, "", (named[host], 0))]  # noqa: E731
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    assert [liveness._own_address(name) for name in named] == ["", "", ""]  # names of a loopback, addresses of another machine
    named["10.0.0.5"] = "10.0.0.5"
    monkeypatch.setattr(liveness, "_listening", lambda address: socket.socket())
    assert liveness._own_address("10.0.0.5") == "10.0.0.5"
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", "0.0.0.0:1")
    assert liveness._own_address("10.0.0.5") == ""


def test_the_service_listens_on_that_address_only():
    """Of a single process: nobody else is waited for."""
    code = (
        "import sys, socket; sys.path.insert(0, sys.argv[1]); from kdjax.train import liveness; port = int(sys.argv[2]);"
        "liveness.initialize(f'127.0.0.1:{port}', 1, 0); socket.create_connection(('127.0.0.1', port)).close();"
        "print(socket.socket().connect_ex(('127.0.0.2', port)))"
    )
    words = [sys.executable, "-c", code, str(HERE.parents[1]), str(free_port())]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert re.fullmatch(r"[1-9]\d*\n", found.stdout), found  # refused


def test_a_relay_leads_on_and_outlives_what_it_leads_to():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: answer(server), daemon=True).start()
        host, port = liveness._parts(liveness._relay(server.getsockname()))
        with closing(socket.create_connection((host, port))) as line:
            line.sendall(b"ping")
            assert line.recv(10) == b"ping"
            line.settimeout(0.5)
            with pytest.raises(TimeoutError):  # the other end is closed by now
                line.recv(10)
    with closing(socket.create_connection((host, port))) as line:
        assert line.recv(10) == b""  # nobody is there


def answer(server):
    line, _ = server.accept()
    line.sendall(line.recv(10))
    line.close()


def test_addresses():
    for text, parts in (("a.b:12", ("a.b", 12)), ("[::1]:12", ("::1", 12))):
        assert liveness._parts(text) == parts and liveness._joined(*parts) == text


def test_strangers_are_not_taken_for_processes():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, token = server.getsockname()[1], "secret"
        lines = []
        for said in (b"other 1", b"no", b"secret 1"):
            lines.append(socket.create_connection(("127.0.0.1", port)))
            lines[-1].sendall(said)
        found = liveness._accepted(server, token, 2)
    assert list(found) == [1] and found[1].getpeername() == lines[-1].getsockname()
    for line in [*lines, *found.values()]:
        line.close()
