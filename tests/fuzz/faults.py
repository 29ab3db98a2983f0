"""Full disks, kills and damaged files: the same command again ends with the same bytes, or refuses in one line.

A case begins with no run, a stopped one, or a finished one without its summary; things then happen to it: a file is cut, lost,
changed or replaced, the process is killed, or the disk is full. A kill and a full disk alone may not even lead to a refusal.
"""

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "kdjax-fuzz-cache"))

import numpy as np
import pytest

from kdjax.core.files import read_json
from kdjax.train import fingerprint
from kdjax.train.checkpoint import read_model
from launch import main
from tests.launch.launching import TINY, Answer, call, stop_after

ROOT = Path(__file__).parents[2]
TEXTS = (b"", b"null", b"[1]", b"{}", b"\xff\xfe\n", b"[" * 100_000, b"x" * 1000)


def attempt(random: np.random.Generator, folder: Path) -> tuple[str, str]:
    """One case: what happened to the run, and what is wrong with the answer."""
    states = _states()
    state = str(random.choice(list(states)))
    run, kept = folder / "run", folder / "cache"
    if states[state].exists():
        shutil.copytree(states[state], run)
    if random.random() < 0.3:
        shutil.copytree(_begin() / "cache", kept)
    happened, harmless = [], True
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDJAX_CACHE", str(kept))
        for _ in range(random.integers(1, 4)):
            fault = FAULTS[random.choice(list(FAULTS))]
            told, complaint = fault(random, run, kept)
            happened.append(told)
            harmless &= fault in (_killed, _full)
            if complaint:
                return f"{state}: {', '.join(happened)}", complaint
        answer = _run(run)
        tried = f"{state}: {', '.join(happened)}"
        if answer.code == 0:
            return tried, _difference(run)
    if harmless:
        return tried, f"it does not go on: {answer.err}"
    return tried, _not_one_line(answer)


def _damaged(random: np.random.Generator, run: Path, kept: Path) -> tuple[str, str]:
    """Something happens to one file or folder."""
    places = [p for above in (run, kept / "stages") if above.is_dir() for p in sorted(above.rglob("*"))]
    if not places:
        return "nothing to damage", ""
    # Files of few lines are as likely as the many files of a checkpoint.
    top = [p for p in places if p.parent == run]
    place = places[random.integers(len(places))] if random.random() < 0.7 or not top else top[random.integers(len(top))]
    name, how = place.relative_to(run.parent), str(random.choice(["lost", "cut", "flipped", "another text", "a plain file"]))
    if how == "lost" or (place.is_dir() and how != "a plain file"):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        return f"{name} lost", ""
    content = bytearray(b"" if place.is_dir() else place.read_bytes())
    if how == "a plain file" and place.is_dir():
        shutil.rmtree(place)
    if how == "cut":
        content = content[: random.integers(len(content) + 1)]
    elif how == "flipped" and content:
        content[random.integers(len(content))] ^= 1 << int(random.integers(8))
    elif how in ("another text", "a plain file"):
        content = bytearray(TEXTS[random.integers(len(TEXTS))])
    place.write_bytes(content)
    return f"{name} {how}", ""


def _full(random: np.random.Generator, run: Path, kept: Path) -> tuple[str, str]:
    """The disk is full from some file on, or at the n-th file; the run ends in one line."""
    if random.random() < 0.5:
        size = int(10 ** random.uniform(1.5, 5.3))
        told, limit = f"no file above {size} bytes", _file_size(size)
    else:
        at = int(random.integers(40))
        told, limit = f"full at write {at}", _counted(at, _raise)
    with limit:
        answer = _run(run)
    return told, "" if answer.code == 0 else _not_one_line(answer)


def _killed(random: np.random.Generator, run: Path, kept: Path) -> tuple[str, str]:
    """SIGKILL at the n-th write."""
    at = int(random.integers(60))
    command = [sys.executable, "-W", "error", "-m", "tests.fuzz.faults", str(at), f"--workdir={run}", *TINY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    complaint = "" if done.returncode in (0, -9) else _not_one_line(Answer(done.returncode, done.stdout, done.stderr))
    return f"killed at write {at}" if done.returncode else "not killed", complaint


FAULTS: dict[str, Callable] = {"damaged": _damaged, "full": _full, "killed": _killed}


@cache
def _begin() -> Path:
    """A folder with a finished run, a stopped one, and the cache that the finished one filled."""
    folder = Path(tempfile.mkdtemp(prefix="kdjax-fuzz-faults-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDJAX_CACHE", str(folder / "cache"))
        answer = _run(folder / "run")
        assert (answer.code, answer.err) == (0, ""), answer
        patch.setenv("KDJAX_CACHE", str(folder / "none"))
        stop_after(patch, 2 + 3)
        answer = _run(folder / "half")
        assert (answer.code, answer.err) == (0, ""), answer
    shutil.copytree(folder / "run", folder / "ended")
    (folder / "ended" / "summary.json").unlink()
    return folder


@cache
def _states() -> dict[str, Path]:
    return {"a new run": _begin() / "nothing", "a stopped run": _begin() / "half", "a finished run": _begin() / "ended"}


def _run(folder: Path) -> Answer:
    return call(main, f"--workdir={folder}", *TINY)


def _left(folder: Path) -> dict[str, Any]:
    """What a run promises to leave, whatever happened to it."""
    summary = read_json(folder / "summary.json")
    found: dict[str, Any] = {"summary": {k: v for k, v in summary.items() if k != "wall_seconds"}}
    found |= {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "report.md", "config.json")}
    for model in sorted((folder / "models").iterdir()):
        weights, notes = read_model(model)
        found[f"models/{model.name}"] = fingerprint.of_tree(weights), notes
    exports = [p for p in (folder / "export").rglob("*") if p.is_file()]
    return found | {str(p.relative_to(folder)): p.read_bytes() for p in exports}


@cache
def _wanted() -> dict[str, Any]:
    return _left(_begin() / "run")


def _difference(folder: Path) -> str:
    found, wanted = _left(folder), _wanted()
    different = sorted(x for x in {*found, *wanted} if found.get(x) != wanted.get(x))
    partial = [p.name for p in folder.rglob("*") if "partial" in p.name or "orbax-checkpoint-tmp" in p.name]
    return f"it ends with another {', '.join(different)}" if different else f"{', '.join(partial)} stays" if partial else ""


def _not_one_line(answer: Answer) -> str:
    one = answer.err.startswith("error: ") and answer.err.count("\n") == 1 and answer.code in (1, 2)
    return "" if one else f"exit code {answer.code}, not one line: {answer.err[-2000:]}"


@contextmanager
def _file_size(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def _counted(at: int, happens: Callable[[], None]) -> Iterator[None]:
    """Something happens in the place of the n-th of the calls that bring files to the disk."""
    import orbax.checkpoint as ocp

    left = [at]

    def counted(function):
        def call(*args, **options):
            left[0] -= 1
            if left[0] == -1:
                happens()
            return function(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "fsync"), (os, "replace"), (os, "mkdir"), (os, "rename"), (ocp.CheckpointManager, "save")):
            patch.setattr(owner, name, counted(getattr(owner, name)))
        yield


def _raise() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


if __name__ == "__main__":
    with _counted(int(sys.argv[1]), lambda: os.kill(os.getpid(), 9)):
        answer = call(main, *sys.argv[2:])
    sys.stderr.write(answer.err)
    sys.exit(answer.code)
