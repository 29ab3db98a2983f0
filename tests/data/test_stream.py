import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data import stream
from kdjax.data.damaged import Damaged

KINDS = [{"threads": 0}, {"threads": 4}, {"workers": 2}]
MANY = 10_000


class OddError(Exception):
    pass


class StubbornError(Exception):
    def __init__(self):
        super().__init__("no way out")
        self.lock = threading.Lock()


class TwoWordsError(Exception):
    def __init__(self, first, second):  # pickle would call it with one
        super().__init__(f"{first} {second}")


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    return request.param


def soon(condition):
    """Whether something comes true within some seconds."""
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def reading_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("grain")]


def holding(path):
    """A reader whose process holds a lock on a file for as long as it lives."""

    def read(i):
        if not held:
            held.append(os.open(path, os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_SH)
        return np.full(1_000_000, i % 256, np.uint8)

    path.touch()
    held = []
    return read


def gone(path):
    """Whether no process holds it."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def script(folder, *lines):
    """A program without a guard around it."""
    path = folder / "script.py"
    path.write_text("\n".join(["print('main', flush=True)", "from kdjax.data import stream", *lines]))
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "none such"},
        start_new_session=True,
    )


def test_order_and_start(tmp_path, kind):
    def read(i):
        (tmp_path / str(i)).touch()
        time.sleep(0.02 if i % 3 == 0 else 0)  # later ones are ready first
        return {"image": np.full((2, 2), i), "i": i, "pid": os.getpid()}

    found = list(stream(read, start=7, stop=20, **kind))
    assert [x["i"] for x in found] == list(range(7, 20))
    assert all((x["image"] == x["i"]).all() for x in found)
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == list(range(7, 20))
    assert len({x["pid"] for x in found} - {os.getpid()}) == kind.get("workers", 0)


def test_values_come_out_as_they_went_in():
    grid = np.arange(24, dtype=np.float32).reshape(4, 6)

    def values():
        odd = np.array([{"a": 1}, None], object), np.zeros(2, [("x", "i4"), ("y", "f8")])
        return {
            "c": grid,
            "f": np.asfortranarray(grid),
            "cut": grid[::2, 1::2],
            "empty": grid[:0],
            "scalar": np.float32(3),
            "odd": odd,
        }

    found = next(stream(lambda i: values(), start=0, stop=1, workers=1))
    assert list(found) == list(values())
    for name, value in values().items():
        parts = zip(found[name], value, strict=True) if name == "odd" else [(found[name], value)]
        for a, b in parts:
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype and a.shape == b.shape
    found["c"][0] = found["f"][0] = 1  # they may be written to


def test_none_is_a_value_and_an_empty_range_has_none(kind):
    assert list(stream(lambda i: None, start=0, stop=3, **kind)) == [None] * 3
    for stop in (5, 3):
        values = stream(lambda i: i, start=5, stop=stop, **kind)
        assert list(values) == []
        values.close()


@pytest.mark.parametrize("kind", KINDS[1:], ids=str)
def test_no_more_is_read_ahead_than_allowed(tmp_path, kind):
    def read(i):
        (tmp_path / str(i)).touch()
        return i

    values = stream(read, start=0, stop=MANY, ahead=5, **kind)
    for taken in (1, 2, 3, 4):
        next(values)
        assert soon(lambda taken=taken: len(list(tmp_path.iterdir())) == taken + 5)
    time.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == 4 + 5
    values.close()


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (InputError("image 5.png: no\tway"), "image 5.png: no\tway"),
        (Damaged("image 5.png: damaged", 2), str(Damaged("image 5.png: damaged", 2))),
        (OddError("strange"), "strange"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_is_raised_arrives_as_it_was(raised, line, kind):
    def read(i):
        if i == 5:
            raise raised
        return i

    got = []
    with pytest.raises(type(raised)) as error:
        for value in stream(read, start=2, stop=MANY, **kind):
            got.append(value)
    assert got == [2, 3, 4]
    assert type(error.value) is type(raised) and str(error.value) == line
    assert getattr(error.value, "row", 2) == 2
    if kind.get("workers"):
        (note,) = error.value.__notes__
        assert "in a worker process" in note and f'File "{__file__}", line' in note and "raise raised" in note


def test_what_cannot_travel():
    def stubborn(i):
        raise StubbornError

    with pytest.raises(RuntimeError, match=r"^StubbornError: no way out\n"):
        next(stream(stubborn, start=0, stop=9, workers=1))

    def two_words(i):
        raise TwoWordsError("no", "way")

    with pytest.raises(RuntimeError, match=r"^TwoWordsError: no way\n"):
        next(stream(two_words, start=0, stop=9, workers=1))
    with pytest.raises(TypeError, match="cannot pickle"):
        next(stream(lambda i: threading.Lock(), start=0, stop=9, workers=1))
    lock = threading.Lock()
    with pytest.raises(InputError, match=r"^workers=1 is not accepted: the reader cannot be sent.*lock.*; expected 0") as error:
        next(stream(lambda i: lock, start=0, stop=9, workers=1))
    assert "\n" not in str(error.value)


def test_what_a_worker_prints_is_no_value(capfd):
    def read(i):
        print("garbage", flush=True)
        os.write(1, b"more garbage\n")
        return i

    assert list(stream(read, start=0, stop=2, workers=1)) == [0, 1]
    out, err = capfd.readouterr()
    assert out == "" and err.count("more garbage") == 2


@pytest.mark.parametrize("how", ["close", "raise", "drop"])
@pytest.mark.parametrize("workers", [0, 2])
def test_leaving_early_leaves_nothing_behind(tmp_path, workers, how):
    read = holding(tmp_path / "lock") if workers else lambda i: i
    values = stream(read, start=0, stop=MANY, workers=workers)
    next(values)
    assert reading_threads() and gone(tmp_path / "lock") == (not workers)
    started = time.monotonic()
    if how == "close":
        values.close()
    elif how == "raise":
        with pytest.raises(OddError), closing(values):
            for _ in values:
                raise OddError
    del values
    assert soon(lambda: not reading_threads())
    assert gone(tmp_path / "lock")
    assert time.monotonic() - started < 5


def test_a_killed_worker_is_told(tmp_path):
    def read(i):
        return os.getpid(), np.zeros(3_000_000, np.uint8)

    values = stream(read, start=0, stop=MANY, workers=2)
    os.kill(next(values)[0], signal.SIGKILL)
    with pytest.raises(InputError, match=r"^workers=2: a process that reads data has ended \(exit code -9, .*memory") as error:
        for _ in values:
            pass
    assert "\n" not in str(error.value)


def test_a_script_needs_no_guard_and_workers_see_no_accelerator(tmp_path):
    program = script(
        tmp_path,
        "import os, sys",
        "values = stream(lambda i: (i, os.environ['JAX_PLATFORMS'], '__mp_main__' in sys.modules), start=0, stop=3, workers=2)",
        "print(*values)",
        "another = stream(lambda i: i, start=0, stop=10_000, workers=2)",
        "print(next(another))",  # and the program ends with it open
    )
    out, err = program.communicate(timeout=60)
    assert err == "" and program.returncode == 0
    assert out.splitlines() == ["main", "(0, 'cpu', False) (1, 'cpu', False) (2, 'cpu', False)", "0"]


@pytest.mark.parametrize("how", ["ctrl-c", "killed"])
def test_workers_end_with_their_parent(tmp_path, how):
    program = script(
        tmp_path,
        "import fcntl, time, signal",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        "def read(i):",
        "    global file",
        f"    file = open({str(tmp_path / 'script.py')!r})",
        "    fcntl.flock(file, fcntl.LOCK_SH)",
        "    return bytes(1_000_000)",
        "for x in stream(read, start=0, stop=10_000, workers=2):",
        "    print('go', flush=True)",
        "    time.sleep(60)",
    )
    assert [program.stdout.readline() for _ in range(2)] == ["main\n", "go\n"]
    assert not gone(tmp_path / "script.py")
    if how == "ctrl-c":
        os.killpg(program.pid, signal.SIGINT)
    else:
        program.kill()
    _, err = program.communicate(timeout=30)
    assert soon(lambda: gone(tmp_path / "script.py"))
    assert err.count("Traceback") == (how == "ctrl-c") and err.endswith("KeyboardInterrupt\n" if how == "ctrl-c" else "")


def test_ctrl_c_is_the_parents_alone(tmp_path):
    program = script(
        tmp_path,
        "import signal, time",
        "signal.signal(signal.SIGINT, lambda *_: print('heard', flush=True))",
        "for x in stream(lambda i: time.sleep(0.05) or i, start=0, stop=20, workers=2):",
        "    print(x, flush=True)",
    )
    assert [program.stdout.readline() for _ in range(2)] == ["main\n", "0\n"]
    os.killpg(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert "heard" in out and out.endswith("19\n") and err == ""


def test_workers_leave_sigterm_to_their_parent():
    def read(i):
        time.sleep(0.05)
        return os.getpid()

    values = stream(read, start=0, stop=6, workers=1)
    os.kill(next(values), signal.SIGTERM)
    assert len(list(values)) == 5


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"start": -1}, "start=-1 .*0 or more"),
        ({"workers": -1}, "workers=-1 .*0 or more"),
        ({"threads": -1}, "threads=-1 .*0 or more"),
        ({"ahead": 0}, "ahead=0 .*1 or more"),
    ],
)
def test_refusals(options, line):
    with pytest.raises(InputError, match=line):
        stream(lambda i: i, **{"start": 0, "stop": 1, **options})
