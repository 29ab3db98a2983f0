"""Files and folders that are either whole or not there.

What is being written lies beside its place as `.<name>.<random>.partial`, under a lock of its process, and is renamed when it is
whole. What a killed process left has no lock: the next one that writes the same thing removes it.
"""

import errno
import fcntl
import glob
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kdjax.core.check import InputError
from kdjax.core.plain import open_plain

_REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO, errno.ENOENT, errno.ENOTDIR)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON through a temporary file and a rename."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes text through a temporary file and a rename."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes through a temporary file and a rename; the umask says who may read them.

    Raises:
      OSError: which names the file.
    """
    with naming(path), _beside(path) as writing, open(writing, "xb") as f:
        _lock(f.fileno())
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
        os.replace(writing, path)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder to fill, which becomes `target` when the block ends well, and is removed when it does not.

    Raises:
      OSError: which names the target; also where it holds something already.
    """
    with naming(target), _beside(target) as writing:
        writing.mkdir()
        handle = os.open(writing, os.O_RDONLY)
        try:
            _lock(handle)
            yield writing
            writing.rename(target)
        finally:
            os.close(handle)


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder; the target is there as a whole or not at all, and the umask says who may read it.

    Raises:
      OSError: which names the target; also where it holds something already.
    """
    with whole_folder(target) as writing:
        _copy_entries(source, writing)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there and can be removed."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove_partial(folder: Path, name: str = "*") -> None:
    """Removes what killed processes left half-written in a folder, `.<name>.partial` among it; what a living one writes stays.

    Args:
      folder: where.
      name: of the file or folder that was being written; all of them if none is named.
    """
    known = name if name == "*" else glob.escape(name)
    for path in folder.glob(f".{known}.*partial"):
        if not _locked(path):
            remove(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """The system names a temporary file or none where a disk is full: the error then names what was to be written.

    Raises:
      OSError: as inside, with the path.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or ".partial" in str(error.filename)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def refusing(place: object, advice: str = "") -> Iterator[None]:
    """Refuses in one line where a place cannot be written; Orbax and tensorstore report that in as many ways as the system.

    Raises:
      InputError: for any error inside; it names the place, the reason and the advice.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        reason = next((x for x in map(os.strerror, _REASONS) if x in text), text[:160]) or type(error).__name__
        raise InputError(f"{place} cannot be written ({reason})" + advice) from error


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
      ValueError: where it is none, is no UTF-8, or is nested deeper than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def check_folder(folder: Path) -> None:
    """Refuses a folder that cannot be made or written, by a file without a name in it, or in what there is above it.

    Raises:
      OSError: as making such a file does.
    """
    places = (folder.absolute(), *folder.absolute().parents)
    with tempfile.TemporaryFile(dir=next(place for place in places if os.path.lexists(place))):
        pass


def read_json(path: Path, advice: str = "expected a JSON object") -> dict:
    """The JSON object in a file.

    Args:
      path: the file.
      advice: what to do about a damaged one, for the message.

    Raises:
      FileNotFoundError: when it is not there.
      InputError: when it cannot be read, or holds none.
    """
    try:
        with open_plain(path) as file:
            text = file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {advice}") from None
    try:
        if isinstance(found := parse_json(text), dict):
            return found
    except ValueError:
        pass
    raise InputError(f"{path} is damaged: {advice}")


def read_lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file up to the first line that is none: a kill leaves a torn last one."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_bytes().splitlines():
        try:
            line = parse_json(text)
        except ValueError:
            break
        if not isinstance(line, dict):
            break
        lines.append(line)
    return lines


def append_lines(path: Path, lines: list[dict]) -> None:
    """Appends objects to a JSON-lines file, on disk when this returns.

    Raises:
      OSError: which names the file.
    """
    with naming(path), open(path, "a") as f:
        f.writelines(json.dumps(line) + "\n" for line in lines)
        f.flush()
        os.fsync(f.fileno())


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new name beside a file or folder; what has it is removed unless it was renamed."""
    remove_partial(path.parent, path.name)
    writing = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield writing
    finally:
        remove(writing)


def _copy_entries(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        if entry.is_dir():
            (target / entry.name).mkdir()
            _copy_entries(entry, target / entry.name)
        else:
            shutil.copyfile(entry, target / entry.name)


def _lock(handle: int) -> None:
    with suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(path: Path) -> bool:
    """Whether a process is at work on it, or it cannot be told."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
