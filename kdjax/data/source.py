"""What a data set is on the host: sizes, and functions that read rows."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Source(NamedTuple):
    """Rows that can be read by number.

    Attributes:
      size: the number of rows.
      read: `rows [B] -> {"image": uint8 [B, H, W, C], "label": int32 [B], "index": int32 [B]}`. `rows` count from 0 to
        `size - 1`; `index` is the position in the set as it came, before a validation part was cut from it. The label
        of an image without one is -1.
    """

    size: int
    read: Callable[[np.ndarray], dict[str, np.ndarray]]


class Dataset(NamedTuple):
    """A data set with its split.

    Attributes:
      train: rows to learn from.
      val: rows for every choice (keep-best, early stop, hyperparameters), or None.
      test: rows for the final numbers.
      classes: the number of classes; 0 where there are no labels.
      shape: `(H, W, C)` of one image.
      names: the names of the classes, in the order of their labels.
      digest: sha256 of the images and labels as they are read, for the records. A validation split does not change it.
    """

    train: Source
    val: Source | None
    test: Source
    classes: int
    shape: tuple[int, int, int]
    names: tuple[str, ...]
    digest: str


class Arrays(NamedTuple):
    """A whole set in memory: what the readers of `load` return.

    Attributes:
      train_images: uint8 `[N, H, W, C]`.
      train_labels: int32 `[N]`; -1 means no label.
      test_images: uint8 `[M, H, W, C]`.
      test_labels: int32 `[M]`.
      names: the names of the classes.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    names: tuple[str, ...]


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

    return Source(len(index), read)


def digest(arrays: Arrays) -> str:
    """The sha256 of all arrays with their names, dtypes and shapes, in hexadecimal.

    >>> empty = np.zeros((0, 1, 1, 1), np.uint8)
    >>> len(digest(Arrays(empty, empty, empty, empty, ())))
    64
    """
    sha = hashlib.sha256("\n".join(arrays.names).encode())
    for name, value in arrays._asdict().items():
        if name != "names":
            sha.update(f"\n{name} {value.dtype.str} {value.shape}\n".encode())
            sha.update(np.ascontiguousarray(value).data)
    return sha.hexdigest()
