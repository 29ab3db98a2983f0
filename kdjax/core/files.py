"""Files that are either whole or not there."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from kdjax.core.check import InputError


def write_json(path: Path, value: Any) -> None:
    """Writes JSON through a temporary file and a rename."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes text through a temporary file and a rename."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes through a temporary file and a rename."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def read_json(path: Path, advice: str = "expected a JSON object") -> dict:
    """The JSON object in a file.

    Args:
      path: the file.
      advice: what to do about a damaged one, for the message.

    Raises:
      InputError: when it holds none.
    """
    try:
        if isinstance(found := json.loads(path.read_text()), dict):
            return found
    except ValueError:
        pass
    raise InputError(f"{path} is damaged: {advice}")


def read_lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file; a torn last line, left by a kill, is dropped."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def append_lines(path: Path, lines: list[dict]) -> None:
    """Appends objects to a JSON-lines file, on disk when this returns."""
    with open(path, "a") as f:
        f.writelines(json.dumps(line) + "\n" for line in lines)
        f.flush()
        os.fsync(f.fileno())
