"""What a data set is on the host: sizes, and functions that read rows."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.core.check import InputError

SEVERAL = "classes"  # the column of images that have several classes, `[N, K]` of 0 and 1: it lies at no place of an image
READ_WHOLE = 2**30  # bytes: larger sets of files enter their digest by names and sizes alone


class Source(NamedTuple):
    """Rows that can be read by number.

    Attributes:
      size: the number of rows.
      read: `rows [B] -> {"image": uint8 [B, H, W, C], "label": int32 [B], "index": int32 [B], ...}`, with any further columns of
        as many rows by name (masks, boxes, targets, tokens, domains). `rows` count from 0 to `size - 1`; `index` is the position in
        the set as it came, before a validation part was cut from it. The label of a row without one is -1; a label may also be
        one class number a position, `[B, H, W]`. A set of tokens has `"tokens"` and no `"image"`. A row that cannot be decoded
        raises `Damaged`.
      labels: `() -> int32 [size]`, the classes of all rows in order, without decoding an image; -1 where a row has no one class.
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
      shape: of one row of the main column: `(H, W, C)` of an image, or `(T,)` of tokens.
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
    shape: tuple[int, ...]
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
      shape: as of `Dataset`.
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
    shape: tuple[int, ...]
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
      train: columns by name, `[N, ...]` each: `"image"` uint8 `[N, H, W, C]`, or `"tokens"`; `"label"` int32, where -1 means no
        label; and any further ones.
      test: likewise.
      names: the names of the classes.
      val: likewise, or None where the set has no validation rows of its own.
    """

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    names: tuple[str, ...]
    val: dict[str, np.ndarray] | None = None

    @property
    def parts(self) -> dict[str, dict[str, np.ndarray]]:
        """The columns by the name of the part: `train`, `test` and, where there is one, `val`."""
        return {"train": self.train, "test": self.test} | ({} if self.val is None else {"val": self.val})


def array_source(images: np.ndarray, labels: np.ndarray, kept: np.ndarray | None = None) -> Source:
    """A Source over images and labels in memory.

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
    return column_source({"image": images, "label": labels}, kept)


def column_source(columns: Mapping[str, np.ndarray], kept: np.ndarray | None = None) -> Source:
    """A Source over any columns in memory.

    Args:
      columns: arrays `[N, ...]` by name, those of `Source.read` but for `"index"`. Without a `"label"` every row has the label -1.
      kept: as in `array_source`.

    Returns:
      A Source of size K.

    >>> source = column_source({"tokens": np.arange(6).reshape(3, 2)})
    >>> {name: x.tolist() for name, x in source.read(np.array([2])).items()}
    {'tokens': [[4, 5]], 'label': [-1], 'index': [2]}
    """
    size = len(next(iter(columns.values())))
    index = np.arange(size, dtype=np.int32) if kept is None else kept.astype(np.int32)
    label = np.asarray(columns.get("label", np.full(size, -1)))
    held = {**columns, "label": label.astype(np.int32) if label.dtype.kind in "iu" else label}

    def read(rows):
        at = index[rows]
        return {**{name: x[at] for name, x in held.items()}, "index": at}

    return Source(len(index), read, lambda: row_labels(label)[index], index.copy)


def row_labels(label: np.ndarray) -> np.ndarray:
    """The class of every row, int32 `[N]`, by a column of labels: -1 for all where it holds distributions, or one class a position.

    >>> row_labels(np.array([3, 1])).tolist(), row_labels(np.array([[3, 1], [1, 1]])).tolist()
    ([3, 1], [-1, -1])
    """
    alone = label.ndim == 1 and label.dtype.kind in "iu"
    return label.astype(np.int32) if alone else np.full(len(label), -1, np.int32)


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


def further_columns(source: Source) -> dict[str, np.ndarray]:
    """The columns of a source beside image, label and index, of no rows: their dtypes and shapes.

    >>> further_columns(column_source({"image": np.zeros((3, 2, 2, 1)), "mask": np.zeros((3, 2, 2))}))["mask"].shape
    (0, 2, 2)
    """
    return {name: x for name, x in source.read(np.zeros(0, np.int32)).items() if name not in ("image", "label", "index")}


def digest(arrays: Arrays) -> str:
    """The sha256 of all arrays with their names, dtypes and shapes, in hexadecimal.

    >>> empty = {"image": np.zeros((0, 1, 1, 1), np.uint8), "label": np.zeros(0, np.int32)}
    >>> len(digest(Arrays(empty, empty, ())))
    64
    """
    sha = hashlib.sha256("\n".join(arrays.names).encode(errors="surrogateescape"))
    for part, columns in arrays.parts.items():
        for name in sorted(columns, key=lambda name: (name not in _FIRST, name)):
            value = columns[name]
            sha.update(f"\n{part}_{_FIRST.get(name, name)} {value.dtype.str} {value.shape}\n".encode())
            sha.update(np.ascontiguousarray(value).data)
    return sha.hexdigest()


_FIRST = {"image": "images", "label": "labels"}  # their names in an npz file


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
