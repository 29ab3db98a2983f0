"""Euclidean distances between many rows, a block of them at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kdjax.core import InputError

ROWS = 1024  # of a block


def as_rows(name: str, given: Any, least: int = 1) -> np.ndarray:
    """Features or images `[N, ...]` as rows `[N, D]` in float64; refused where there are fewer than `least`."""
    x = np.asarray(given, np.float64)
    if x.ndim < 2 or len(x) < least:
        raise InputError(f"{name} of shape {x.shape} are not accepted: expected [N, ...] of {least} row{'s' * (least > 1)} or more")
    return x.reshape(len(x), -1)


def two_sets(name: str, given: Any, other: str, reference: Any, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of rows of one width."""
    x, y = as_rows(name, given, least), as_rows(other, reference, least)
    if x.shape[1] != y.shape[1]:
        shapes = f"{name} of shape {np.shape(given)} and {other} of shape {np.shape(reference)}"
        raise InputError(f"{shapes} are not accepted: expected rows of one width")
    return x, y


def distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The distances `[n, M]` of blocks of rows of `x` `[N, D]` to all rows of `y` `[M, D]`, and which rows those are.

    >>> [(rows.start, block.tolist()) for rows, block in distances(np.array([[0.0], [3.0]]), np.array([[1.0]]))]
    [(0, [[1.0], [2.0]])]
    """
    centre = y.mean(0)  # the differences of squares below lose less near 0
    y = y - centre
    squares = (y**2).sum(1)
    for start in range(0, len(x), ROWS):
        rows = slice(start, min(start + ROWS, len(x)))
        block = x[rows] - centre
        found = block @ y.T
        found *= -2
        found += squares
        found += (block**2).sum(1)[:, None]
        yield rows, np.sqrt(np.maximum(found, 0, out=found), out=found)


def nearest_others(x: np.ndarray, k: int = 1) -> np.ndarray:
    """The distance `[N]` of each row to the k-th nearest of the *other* rows.

    >>> nearest_others(np.array([[0.0], [1.0], [5.0]])).tolist()
    [1.0, 1.0, 4.0]
    """
    out = np.empty(len(x))
    for rows, block in distances(x, x):
        block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = np.inf
        out[rows] = np.partition(block, k - 1, axis=1)[:, k - 1]
    return out
