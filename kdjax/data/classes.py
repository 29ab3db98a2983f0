"""What a set says of its classes, held against its images."""

from collections.abc import Sequence

import numpy as np

from kdjax.core.check import InputError
from kdjax.core.printable import printable
from kdjax.data.source import Source, subset

SHOWN = 10  # names that one line lists


def check_classes(place: str, classes: int, rows: int, by: str = "its labels, which count from 0") -> None:
    """Refuses more classes than training images, before their names are made: a label of 2^30 says something else than a class.

    Args:
      place: what the message calls the set.
      classes: how many there are by the labels, the largest + 1, or by what the set says.
      rows: training images.
      by: what says so, in words.

    Raises:
      InputError: when there are more classes than rows.

    >>> check_classes("npz a.npz", 10, 60)
    """
    if classes > rows:
        counted = f"{classes:,} classes by {by}, and {rows:,} training image{'s' * (rows != 1)}"
        raise InputError(f"{place}: has {counted}: expected no more classes than training images")


def empty_classes(labels: np.ndarray, names: Sequence[str]) -> str:
    """One line that names the classes without a training image; empty where each has one.

    Args:
      labels: of the training images, integers `[N]`.
      names: of the classes.

    >>> empty_classes(np.array([0, 3, 3]), "abcd")
    'classes without a training image: 2 of 4 (b, c)'
    """
    held = np.bincount(labels[labels >= 0], minlength=len(names))
    empty = [names[int(label)] for label in np.flatnonzero(held == 0)]
    return f"classes without a training image: {len(empty)} of {len(names)} ({some(empty)})" if empty else ""


def some(names: Sequence[str]) -> str:
    """The first of some names and how many follow.

    >>> some(["a", "b"]), some([str(n) for n in range(12)])
    ('a, b', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more')
    """
    names = [printable(name) for name in names]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def keep_classes(source: Source, first: int, last: int) -> Source:
    """The rows of a range of classes, which count from 0 again: a task of its own.

    Args:
      source: with a class a row.
      first: the class that becomes 0.
      last: the first one behind those that are kept.

    Raises:
      InputError: where no row is left.

    >>> from kdjax.data.source import column_source
    >>> kept = keep_classes(column_source({"label": np.array([0, 3, 1, 2])}), 2, 4)
    >>> kept.read(np.arange(2))["label"].tolist(), kept.labels().tolist(), kept.read(np.arange(2))["index"].tolist()
    ([1, 0], [1, 0], [1, 3])
    """
    labels = source.labels()
    kept = np.flatnonzero((labels >= first) & (labels < last))
    if not kept.size:
        raise InputError(f"classes {first} to {last - 1} have no row: expected rows of these classes")
    part = subset(source, kept)

    def read(rows):
        found = part.read(rows)
        return {**found, "label": found["label"] - np.int32(first)}

    return Source(part.size, read, lambda: part.labels() - first, part.numbers)
