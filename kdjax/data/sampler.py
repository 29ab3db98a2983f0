"""Which rows a step sees: pure functions of the seed and the step, so the position of a run is its step."""

from collections.abc import Callable
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np

from kdjax.core.check import InputError, check_option

# Streams of random bits that never meet. New ones go to the end: the numbers are part of what a run is.
EPOCHS, TEST_SPLIT, VAL_SPLIT, FEW_LABELS, DOMAINS, EPISODES, PAIRS, CLIPS, PROBE_SPLIT, NOISE, BANDS, COMPANIONS = range(12)


class Sampler(NamedTuple):
    """Which rows each step sees. Nothing is remembered between steps, so any step may be asked for first.

    Attributes:
      rows: `(seed, step) -> int32 [batch]`, the rows of a step over all processes, the same on every machine.
      epoch_of: `step -> int`, the epoch that a step lies in, from 0.
      batch: rows a step.
      group: rows that belong together (the two of a pair, a clip, an episode) stand next to each other, this many; what
        divides a batch (`process_rows`) keeps them whole.
      rest: rows of the last step of an epoch, where they are fewer than `batch`; 0: every step has `batch` rows.
    """

    rows: Callable[[int, int], np.ndarray]
    epoch_of: Callable[[int], int]
    batch: int
    group: int = 1
    rest: int = 0


def bits(n: int, seed: int, number: int, stream: int, part: int = 0) -> np.ndarray:
    """Random bits of the counter-based generator Philox, the same on every machine and for every version of NumPy.

    Args:
      n: how many words of 64 bits.
      seed: the seed of the run, 0 or more.
      number: which draw of this seed (an epoch, a class, a step), 0 or more.
      stream: what they are for, one of the constants of this file.
      part: a further number (a domain, a class), 0 or more.

    Returns:
      uint64 `[n]`.

    >>> bits(2, 0, 0, EPOCHS).dtype
    dtype('uint64')
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < 2**64:
        raise InputError(f"seed={seed!r} is not accepted: expected a whole number, 0 or more, of at most 64 bits")
    counter = np.array([0, 0, part, stream], np.uint64)
    return np.random.Philox(key=np.array([seed, number], np.uint64), counter=counter).random_raw(n)


def shuffled(n: int, seed: int, number: int, stream: int, part: int = 0) -> np.ndarray:
    """A permutation of 0 .. n - 1, the same on every machine and for every version of NumPy.

    The raw bits of Philox are sorted. NumPy promises those bits, but not the algorithm of its own `permutation`.

    Args:
      n: the length.
      seed: as in `bits`, like the rest.
      number: which permutation.
      stream: what it is for.
      part: a further number.

    Returns:
      int64 `[n]`.

    >>> sorted(shuffled(4, 0, 0, EPOCHS).tolist())
    [0, 1, 2, 3]
    """
    return np.argsort(bits(n, seed, number, stream, part), kind="stable")


@lru_cache(maxsize=16)
def epoch_order(seed: int, epoch: int, n: int, stream: int = EPOCHS, part: int = 0) -> np.ndarray:
    """The order in which an epoch visits the rows.

    Args:
      seed: the seed of the run.
      epoch: the number of the epoch, from 0.
      n: the number of rows.
      stream: as in `bits`.
      part: as in `bits`.

    Returns:
      A permutation of 0 .. n - 1, int32 `[n]`, read-only because it is kept for the next call.

    >>> sorted(epoch_order(0, 3, 5).tolist())
    [0, 1, 2, 3, 4]
    """
    check_option("epoch", epoch, lambda e: e >= 0, "0 or more")
    order = shuffled(n, seed, epoch, stream, part).astype(np.int32)
    order.flags.writeable = False
    return order


def endless(seed: int, first: int, count: int, n: int, stream: int, part: int = 0) -> np.ndarray:
    """A stretch of the orders of all epochs, one after the other and nothing dropped between them.

    Args:
      seed: the seed of the run.
      first: where the stretch begins, from 0 over the whole run.
      count: its length, 1 or more.
      n: the number of rows.
      stream: as in `bits`.
      part: as in `bits`.

    Returns:
      int32 `[count]`.

    >>> sorted(endless(0, 2, 3, 3, EPOCHS).tolist()[1:] + endless(0, 5, 1, 3, EPOCHS).tolist())
    [0, 1, 2]
    """
    check_option("first", first, lambda f: f >= 0, "0 or more")
    orders = [epoch_order(int(seed), epoch, n, stream, part) for epoch in range(first // n, (first + count - 1) // n + 1)]
    return np.concatenate(orders)[first % n :][:count]


def spread_rows(size: int, count: int) -> np.ndarray:
    """A sample of a set without a draw: rows evenly spread from the first to the last, so that no class of a sorted set is missed.

    Args:
      size: the number of rows of the set, 1 or more.
      count: how many are wanted, 1 or more.

    Returns:
      int32 `[min(size, count)]`, in order.

    >>> spread_rows(10, 4).tolist(), spread_rows(3, 4).tolist()
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.linspace(0, size - 1, min(size, count)).astype(np.int32)


def epoch_steps(size: int, batch: int, *, keep_last: bool = False) -> int:
    """Steps an epoch.

    Args:
      size: the number of rows of the set.
      batch: rows a step.
      keep_last: whether what does not fill a batch makes a last, smaller step, or is dropped.

    Returns:
      `size / batch`, rounded up with `keep_last`, else down.

    Raises:
      InputError: when `batch` is below 1 or above `size`.

    >>> epoch_steps(50_000, 64), epoch_steps(50_000, 64, keep_last=True)
    (781, 782)
    """
    check_option("batch", batch, lambda b: 1 <= b <= size, f"1 to {size}, the number of training images")
    return -(-size // batch) if keep_last else size // batch


def epoch_of(step: int, *, size: int, batch: int, keep_last: bool = False) -> int:
    """The epoch a step lies in, from 0.

    Args:
      step: the number of the step, from 0.
      size: as in `epoch_steps`, like the rest.
      batch: rows a step.
      keep_last: whether the last partial batch of an epoch is kept.

    Returns:
      `step // epoch_steps`.

    Raises:
      InputError: when `batch` is below 1 or above `size`, or `step` below 0.

    >>> epoch_of(5, size=10, batch=4), epoch_of(5, size=10, batch=4, keep_last=True)
    (2, 1)
    """
    check_option("step", step, lambda s: s >= 0, "0 or more")
    return int(step // epoch_steps(size, batch, keep_last=keep_last))


def epoch_rows(seed: int, step: int, *, size: int, batch: int, keep_last: bool = False) -> np.ndarray:
    """The rows of one step. Each epoch visits every row at most once, in its own order; with `keep_last` exactly once.

    Args:
      seed: the seed of the run.
      step: the number of the step, from 0 over the whole run.
      size: the number of rows of the set.
      batch: rows a step, over all devices and processes.
      keep_last: whether the last partial batch of an epoch is kept.

    Returns:
      int32 `[batch]`; in the last step of an epoch, with `keep_last`, those that are left.

    Raises:
      InputError: when `batch` is below 1 or above `size`, or `step` below 0.

    >>> first, second = (epoch_rows(0, step, size=5, batch=2) for step in (0, 1))
    >>> set(first.tolist()) & set(second.tolist())
    set()
    >>> epoch_rows(0, 2, size=5, batch=2, keep_last=True).size
    1
    """
    epoch = epoch_of(step, size=size, batch=batch, keep_last=keep_last)
    at = int(step - epoch * epoch_steps(size, batch, keep_last=keep_last)) * batch
    return epoch_order(int(seed), epoch, int(size))[at : at + batch]


def epochs(size: int, batch: int, *, keep_last: bool = False) -> Sampler:
    """Every row once an epoch, in the order of `epoch_rows`.

    Args:
      size: the number of rows of the set.
      batch: rows a step, 1 to `size`.
      keep_last: whether what does not fill a batch at the end of an epoch makes a smaller step (`Sampler.rest` rows), or is
        dropped.

    Returns:
      A Sampler; an epoch has `epoch_steps` steps.

    Raises:
      InputError: when `batch` is below 1 or above `size`.

    >>> sampler = epochs(10, 4)
    >>> sampler.rows(0, 3).size, sampler.epoch_of(3)
    (4, 1)
    >>> epochs(10, 4, keep_last=True).rest
    2
    """
    epoch_steps(size, batch, keep_last=keep_last)
    sizes = {"size": size, "batch": batch, "keep_last": keep_last}
    return Sampler(
        lambda seed, step: epoch_rows(seed, step, **sizes),
        lambda step: epoch_of(step, **sizes),
        batch,
        rest=size % batch if keep_last else 0,
    )


def pieces(steps: range, order: Callable[[int], np.ndarray]) -> list[tuple[range, np.ndarray]]:
    """Steps and their rows, cut where the rows of a step become fewer or more.

    Pieces of every length are compiled for themselves, so there are few: what is left at the ends, where epochs do not end with
    `steps`, has lengths of powers of two.

    Args:
      steps: one after the other.
      order: `step -> rows [..., B]`.

    Returns:
      `[(steps, rows [steps, ..., B]), ...]`.

    >>> found = pieces(range(6), lambda step: epoch_rows(0, step, size=5, batch=2, keep_last=True))
    >>> [(list(steps), rows.shape) for steps, rows in found]
    [([0, 1], (2, 2)), ([2], (1, 1)), ([3, 4], (2, 2)), ([5], (1, 1))]
    """
    rows = [order(step) for step in steps]
    found = []
    for _, same in groupby(range(len(rows)), key=lambda i: rows[i].shape[-1]):
        own = list(same)
        first, end = own[0], own[-1] + 1
        whole = end - first >= len(rows) - 1 or (first > 0 and end < len(rows))
        while first < end:
            until = end if whole else first + (1 << (end - first).bit_length() - 1)
            found.append((steps[first:until], np.stack(rows[first:until])))
            first = until
    return found


def process_rows(rows: np.ndarray, process: int, processes: int, *, group: int = 1) -> np.ndarray:
    """The part `[pB/P, (p+1)B/P)` of the rows of a step that process p of P reads.

    Args:
      rows: `[B]`, the rows of the whole step.
      process: the number of this process, from 0.
      processes: how many there are; it divides B.
      group: neighbouring rows that must stay together, a Sampler's `group`; `processes * group` divides B.

    Returns:
      `[B / P]`.

    Raises:
      InputError: when the rows cannot be shared out evenly, or there is no such process.

    >>> process_rows(np.arange(6), 1, 3).tolist()
    [2, 3]
    """
    check_option("processes", processes, lambda p: p >= 1, "1 or more")
    check_option("process", process, lambda p: 0 <= p < processes, f"0 to {processes - 1}")
    if len(rows) % (processes * group):
        whole = f" times {group}, the rows that stay together" if group > 1 else ""
        raise InputError(f"batch={len(rows)} is not accepted: expected a multiple of {processes}, the processes{whole}")
    share = len(rows) // processes
    return rows[process * share : (process + 1) * share]
