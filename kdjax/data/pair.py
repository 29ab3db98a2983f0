"""Batches of pairs: the same class or sequence, or two different ones."""

import math

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.data.sampler import PAIRS, Sampler, bits, endless


def pairs(groups: np.ndarray, *, pairs: int, positive: float = 1.0, gap: int | None = None) -> Sampler:
    """Puts a partner next to every anchor: rows 2i and 2i + 1 of a step are pair i.

    Anchors go through epochs: each row of the set is the anchor once. The partner is any other row of the anchor's group
    with equal chance (a positive pair), or any row of the other groups (a negative one). Which pairs are positive is the
    same in every step: `positive_pairs`.

    Args:
      groups: what makes two rows alike, integers `[N]`: a class; or a sequence, whose rows are its frames in order of time.
      pairs: pairs a step, 1 or more.
      positive: the part of the pairs that are positive, 0 to 1.
      gap: how many rows of its group the partner of a positive pair may lie before or behind the anchor; None is no bound.

    Returns:
      A Sampler of `2 * pairs` rows a step, in groups of 2. Its epochs are those of the anchors.

    Raises:
      InputError: when a group has no second row, or there is no second group, and pairs need one.

    >>> groups = np.array([0, 0, 1, 1])
    >>> anchors, partners = pairs(groups, pairs=2, positive=0.5).rows(0, 0).reshape(2, 2).T
    >>> (groups[anchors] == groups[partners]).tolist()
    [False, True]
    """
    check_option("gap", gap, lambda g: g is None or g >= 1, "1 or more rows, or None")
    alike = positive_pairs(pairs, positive)
    groups = np.asarray(groups)
    if groups.ndim != 1 or not groups.size:
        raise InputError(f"groups have shape {groups.shape}: expected an integer for each row, [N]")
    names, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable").astype(np.int32)  # rows, group by group
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    if alike.any() and sizes.min() < 2:
        raise InputError(f"group {names[sizes.argmin()]} has 1 row: a positive pair needs 2 of one group")
    if not alike.all() and len(names) < 2:
        raise InputError(f"positive={positive} is not accepted: all rows are of group {names[0]}, a negative pair needs 2 groups")

    def rows(seed, step):
        at = endless(seed, step * pairs, pairs, len(order), PAIRS)  # positions in `order`
        start, size = starts[group[order[at]]], sizes[group[order[at]]]
        low = start if gap is None else np.maximum(start, at - gap)
        high = start + size if gap is None else np.minimum(start + size, at + gap + 1)
        # A number among the places that are allowed; from the one that is left out on, they lie further behind.
        chance = bits(pairs, seed, step, PAIRS, 1)
        near = low + (chance % np.maximum(high - low - 1, 1).astype(np.uint64)).astype(np.int64)
        far = (chance % np.maximum(len(order) - size, 1).astype(np.uint64)).astype(np.int64)
        partner = np.where(alike, near + (near >= at), far + size * (far >= start))
        return np.stack([order[at], order[partner]], axis=1).reshape(-1)

    return Sampler(rows, lambda step: int(step * pairs // len(order)), 2 * pairs, 2)


def positive_pairs(pairs: int, positive: float) -> np.ndarray:
    """Which pairs of a step are positive: `floor(pairs * positive)` of them, spread evenly.

    Args:
      pairs: pairs a step, 1 or more.
      positive: the part of them that is positive, 0 to 1.

    Returns:
      bool `[pairs]`.

    Raises:
      InputError: for an option out of its range.

    >>> positive_pairs(4, 0.5).tolist()
    [False, True, False, True]
    """
    check_option("pairs", pairs, lambda n: n >= 1, "1 or more")
    check_option("positive", positive, lambda p: 0 <= p <= 1, "0 to 1")
    counts = [math.floor(round(i * positive, 9)) for i in range(pairs + 1)]  # rounded, for 0.7 * 10 = 7
    return np.diff(counts) > 0
