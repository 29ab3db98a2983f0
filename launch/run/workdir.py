"""The folder of a run: whether it is free, holds this very run, or another one."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kdjax.core import InputError
from kdjax.core.difference import difference
from kdjax.core.files import read_json

# Fields of a config that say where a run computes and finds things, and when it is given up: it may go on with others.
PLACES = ("devices", "fsdp", "parallel", "data.dir", "data.workers", "cache.dir", "stop")


def same_run(folder: Path, plain: dict, source: dict) -> bool:
    """Whether the folder holds this very run; another one is refused."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise InputError(f"--workdir={folder} is a file: expected a folder, which is made if it is not there")
    if not (folder / "config.json").exists():
        strange = [p.name for p in folder.iterdir() if not p.name.startswith(".") and not _is_left_over(p)]
        if strange:
            raise InputError(f"--workdir={folder} holds {strange[0]!r} and no run: expected an empty folder or a run's folder")
        return False
    kept = read_json(folder / "config.json", "choose another --workdir, or remove that folder")
    if not {"config", "file", "variant"} <= set(kept) or not isinstance(kept["config"], dict):
        raise InputError(f"{folder / 'config.json'} is not that of a run: choose another --workdir, or remove that folder")
    theirs, ours = (f"{x['file']}:{x['variant']}".removesuffix(":") for x in (kept, source))
    if theirs != ours:
        raise InputError(f"--workdir={folder} holds a run of {theirs}, this command is one of {ours}: choose another --workdir")
    if different := difference(kept["config"], plain, skip=PLACES):
        raise InputError(f"--workdir={folder} holds a run with {different}: choose another --workdir, or repeat its command")
    return True


def _is_left_over(path: Path) -> bool:
    """Whether it holds nothing, or only checkpoints that were being written when the run was killed or its folder removed."""
    return path.is_dir() and all(".orbax-checkpoint-tmp" in x.name or _is_left_over(x) for x in path.iterdir())


def is_finished(folder: Path, say: Callable[[str], None]) -> bool:
    """Whether a run has left its numbers, lines and report, or at least nothing that those could be made from again."""
    if not (folder / "summary.json").exists():
        return False
    about, report = read_json(folder / "config.json"), folder / "report.md"
    lost = [] if about.get("metrics_sha256") in (None, digest_of_lines(folder)) else [folder / "metrics.jsonl"]
    lost += [] if report.is_file() else [report]
    if not lost or not all((folder / "models" / str(x)).is_dir() for x in about.get("stages") or ()):
        return True
    say(f"{lost[0]} is not as the run left it: it is made again from models/")
    return False


def digest_of_lines(folder: Path) -> str | None:
    """sha256 of metrics.jsonl, or None where there is none."""
    try:
        return hashlib.sha256((folder / "metrics.jsonl").read_bytes()).hexdigest()
    except OSError:
        return None


def make_folder(folder: Path) -> None:
    """Makes the folder of a run, or says why it cannot be written; config.json is the first that comes into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(
            f"--workdir={folder} cannot be written ({error.strerror}): expected a place for the run's folder"
        ) from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other runs out of the folder.

    Raises:
      InputError: when another run is at work in it.
    """
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"--workdir={folder} is in use by another run: wait for its end, or choose another --workdir"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
