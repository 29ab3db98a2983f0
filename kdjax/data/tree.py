"""Image files in folders: which are read, and which are not and why."""

import os
from collections.abc import Sequence
from pathlib import Path

from kdjax.core.check import InputError
from kdjax.core.printable import printable
from kdjax.data.image import TYPES

ENDING = "with another ending than an image's"
HIDDEN = "hidden"
PLAIN = "neither a file nor a folder"
LOOP = "leading back to a folder above"
BESIDE = "beside the folders of the split"
SHOWN = 5  # endings that one line lists


class Unread:
    """What is left out of a set, by the reason.

    >>> unread = Unread()
    >>> unread.add(ENDING, "a/notes.txt")
    >>> unread.notes()
    ("not read: 1 with another ending than an image's (.txt; the first a/notes.txt)",)
    """

    def __init__(self):
        self._first: dict[str, str] = {}
        self._count: dict[str, int] = {}
        self._endings: dict[str, None] = {}

    def add(self, reason: str, name: str) -> None:
        """Notes that a file or folder, named from the folder of the set, is not read."""
        self._first.setdefault(reason, printable(name))
        self._count[reason] = self._count.get(reason, 0) + 1
        if reason == ENDING:
            self._endings.setdefault(printable(os.path.splitext(name)[1].lower()) or "none")

    def notes(self) -> tuple[str, ...]:
        """One line, or none where all was read."""
        parts = []
        for reason, count in self._count.items():
            first = f"the first {self._first[reason]}" if count > 1 or reason == ENDING else self._first[reason]
            endings = list(self._endings)
            listed = ", ".join(endings[:SHOWN]) + f" and {len(endings) - SHOWN} more" * (len(endings) > SHOWN)
            parts.append(f"{count:,} {reason} ({f'{listed}; ' * (reason == ENDING)}{first})")
        return (f"not read: {', '.join(parts)}",) if parts else ()


def images_below(root: Path, folder: str, unread: Unread) -> list[str]:
    """The images of a folder and of all folders inside it, in alphabetical order.

    Links to folders are followed, but not back to a folder above them.

    Args:
      root: of the set.
      folder: below it; what is returned is named from `root`, too.
      unread: where all else is noted.

    Raises:
      InputError: when a folder may not be read.
    """
    found, todo = [], [(folder, ())]
    while todo:
        here, above = todo.pop()
        about = os.stat(root / here)
        identity = about.st_dev, about.st_ino
        if identity in above:
            unread.add(LOOP, here)
            continue
        images, folders = inside(root, here, unread)
        found += images
        todo += [(name, (*above, identity)) for name in folders]
    return sorted(found)


def inside(root: Path, folder: str, unread: Unread) -> tuple[list[str], list[str]]:
    """The images and the folders right inside a folder, in alphabetical order; arguments as in `images_below`."""
    images, folders = [], []
    for entry in _entries(root / folder):
        name = os.path.join(folder, entry.name)
        is_folder, is_file = _kind(entry)
        if entry.name.startswith("."):
            unread.add(HIDDEN, name)
        elif is_folder:
            folders.append(name)
        elif not entry.name.lower().endswith(TYPES):
            unread.add(ENDING, name)
        elif is_file:
            images.append(name)
        else:
            unread.add(PLAIN, name)
    return images, folders


def _entries(folder: Path) -> Sequence[os.DirEntry]:
    try:
        with os.scandir(folder) as found:  # which tells folders from files without asking for each
            return sorted(found, key=lambda entry: entry.name)
    except PermissionError:
        raise InputError(f"folder {folder}: no permission to read it") from None
    except OSError as error:
        raise InputError(f"folder {folder}: cannot be read ({error.strerror})") from None


def _kind(entry: os.DirEntry) -> tuple[bool, bool]:
    """Whether an entry is a folder, and whether it is a file. A link to nothing counts as a file: who reads it is told."""
    try:
        return entry.is_dir(), entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # a link to itself
        return False, False
