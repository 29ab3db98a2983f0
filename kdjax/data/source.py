"""What a data set is on the host: sizes, and functions that read rows."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.core.check import InputError

READ_WHOLE = 2**30  # bytes: larger sets of files enter their digest by names and sizes alone


class Source(NamedTuple):
    """Rows that can be read by number.

    Attributes:
      size: the number of rows.
      read: `rows [B] -> {"image": uint8 [B, H, W, C], "label": int32 [B], "index": int32 [B]}`. `rows` count from 0 to
        `size - 1`; `index` is the position in the set as it came, before a validation part was cut from it. The label
        of an image without one is -1. A row that cannot be decoded raises `Damaged`.
      labels: `() -> int32 [size]`, the labels of all rows in order, without decoding an image.
      numbers: `() -> int32 [size]`, the `index` of all rows in order; None: they count from 0.
    """

    size: int
    read: Callable[[np.ndarray], dict[str, np.ndarray]]
    labels: Callable[[], np.ndarray]
    numbers: Callable[[], np.ndarray] | None = None


class Dataset(NamedTuple):
    """A data set with its split.

    Attributes:
      train: rows to learn from.
      val: rows for every choice (keep-best, early stop, hyperparameters), or None.
      test: rows for the final numbers.
      classes: the number of classes; 0 where there are no labels.
      shape: `(H, W, C)` of one image.
      names: the names of the classes, in the order of their labels.
      digest: sha256 of what is read, for the records; `load` says of what exactly. A validation split does not change it.
      resident: whether all images lie decoded in the memory of the host.
      damaged: one line for each image that could not be decoded and has another in its place, where that is known by now.
      own_val: whether `val` is a part that the set came with, and not cut from its training images.
      notes: one line for each thing to know of the set: files that were left out and why, classes without a training image.
      labelled: whether training images have labels.
      exif_orientation: whether images were turned as their EXIF orientation says, now or when they were packed.
    """

    train: Source
    val: Source | None
    test: Source
    classes: int
    shape: tuple[int, int, int]
    names: tuple[str, ...]
    digest: str
    resident: bool = True
    damaged: tuple[str, ...] = ()
    own_val: bool = False
    notes: tuple[str, ...] = ()
    labelled: bool = True
    exif_orientation: bool = False


class Opened(NamedTuple):
    """A set as a reader finds it, before anything is decoded or split further.

    Attributes:
      train: rows to learn from.
      test: rows for the final numbers.
      names: the names of the classes; none where there are no labels.
      shape: `(H, W, C)` of one image.
      digest: `() -> sha256` of what lies in the files, see `file_digest`.
      guessed: whether `shape` is known from some images only.
      arrays: the set itself, where it lies in memory.
      val: rows for every choice, or None where the set has no part of its own for them.
      listed: whether labels are known without reading records.
      notes: one line for each thing that the user of the set should know, as what was left out of it and why.
      exif_orientation: as of `Dataset`.
    """

    train: Source
    test: Source
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    digest: Callable[[], str]
    guessed: bool = False
    arrays: "Arrays | None" = None
    val: Source | None = None
    listed: bool = True
    notes: tuple[str, ...] = ()
    exif_orientation: bool = False

    @property
    def parts(self) -> dict[str, Source]:
        """The sources by name: `train`, `test` and, where there is one, `val`."""
        return {"train": self.train, "test": self.test} | ({} if self.val is None else {"val": self.val})


class Arrays(NamedTuple):
    """A whole set in memory.

    Attributes:
      train_images: uint8 `[N, H, W, C]`.
      train_labels: int32 `[N]`; -1 means no label.
      test_images: uint8 `[M, H, W, C]`.
      test_labels: int32 `[M]`.
      names: the names of the classes.
      val_images: uint8 `[K, H, W, C]`, or None where the set has no validation images of its own.
      val_labels: int32 `[K]`, or None.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    names: tuple[str, ...]
    val_images: np.ndarray | None = None
    val_labels: np.ndarray | None = None


def array_source(images: np.ndarray, labels: np.ndarray, kept: np.ndarray | None = None) -> Source:
    """A Source over arrays in memory.

    Args:
      images: uint8 `[N, H, W, C]`.
      labels: integers `[N]`.
      kept: the rows that belong to this source, `[K]`; None keeps all. Nothing is copied.

    Returns:
      A Source of size K.

    >>> source = array_source(np.zeros((5, 2, 2, 1), np.uint8), np.arange(5), kept=np.array([1, 4]))
    >>> source.size, source.read(np.array([1]))["index"].tolist()
    (2, [4])
    """
    index = np.arange(len(images), dtype=np.int32) if kept is None else kept.astype(np.int32)
    labels = labels.astype(np.int32)

    def read(rows):
        at = index[rows]
        return {"image": images[at], "label": labels[at], "index": at}

    return Source(len(index), read, lambda: labels[index], index.copy)


def subset(source: Source, kept: np.ndarray) -> Source:
    """The rows `kept` of a source, `[K]`, as a source of size K.

    >>> whole = array_source(np.zeros((5, 2, 2, 1), np.uint8), np.arange(5))
    >>> subset(whole, np.array([1, 4])).read(np.array([1]))["index"].tolist()
    [4]
    """
    return Source(len(kept), lambda rows: source.read(kept[rows]), lambda: source.labels()[kept], lambda: numbers_of(source)[kept])


def numbers_of(source: Source) -> np.ndarray:
    """The `index` of all rows of a source, int32 `[size]`.

    >>> whole = array_source(np.zeros((5, 2, 2, 1), np.uint8), np.arange(5))
    >>> numbers_of(subset(whole, np.array([1, 4]))).tolist()
    [1, 4]
    """
    return np.arange(source.size, dtype=np.int32) if source.numbers is None else source.numbers()


def digest(arrays: Arrays) -> str:
    """The sha256 of all arrays with their names, dtypes and shapes, in hexadecimal.

    >>> empty = np.zeros((0, 1, 1, 1), np.uint8)
    >>> len(digest(Arrays(empty, empty, empty, empty, ())))
    64
    """
    sha = hashlib.sha256("\n".join(arrays.names).encode(errors="surrogateescape"))
    for name, value in arrays._asdict().items():
        if name != "names" and value is not None:
            sha.update(f"\n{name} {value.dtype.str} {value.shape}\n".encode())
            sha.update(np.ascontiguousarray(value).data)
    return sha.hexdigest()


def file_digest(root: Path, files: Sequence[str], *settings: Any) -> str:
    """The sha256 of files, in hexadecimal: of their names and bytes, or of names and sizes where they exceed 1 GiB together.

    Args:
      root: the folder of the files.
      files: their names below it, which count; the name of the folder does not.
      *settings: what else decides how rows look, anything whose `repr` tells it.

    Returns:
      64 characters.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "a").write_bytes(b"1")
    1
    >>> file_digest(root, ["a"]) == file_digest(root, ["a"], 28)
    False
    """
    paths = [os.path.join(root, name) for name in files]  # pathlib takes longer than the file system
    sizes = [_size(path) for path in paths]
    whole = sum(sizes) <= READ_WHOLE
    sha = hashlib.sha256(repr(settings).encode())
    for name, path, size in zip(files, paths, sizes, strict=True):
        sha.update(f"\n{name} {size}\n".encode(errors="surrogateescape"))
        if whole and size > 0:
            _update(sha, path)
    return sha.hexdigest()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:  # a link to nothing; who reads it is told
        return -1


def _update(sha: Any, path: str) -> None:
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                sha.update(block)
    except OSError as error:
        raise InputError(f"file {path}: cannot be read ({error.strerror})") from None
