"""Batches in which every image stands with others of its class."""

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.data.sampler import COMPANIONS, Sampler, bits, endless


def companions(groups: np.ndarray, *, batch: int, others: int = 3) -> Sampler:
    """Puts other rows of its class behind every anchor, so that each `others + 1` rows in turn are of one class.

    Anchors go through epochs: each row of the set is the anchor once. The others are drawn with equal chance from all rows of the
    class but the anchor, one by one, so that in a small class one may come twice.

    Args:
      groups: the class of each row, integers `[N]`.
      batch: rows a step, a multiple of `others + 1`.
      others: M, 1 or more.

    Returns:
      A Sampler whose epochs are those of the anchors.

    Raises:
      InputError: for a class with one row, or options out of range.

    Reference: Ge et al., Self-distillation with Batch Knowledge Ensembling Improves ImageNet Classification, 2021
    (arXiv 2104.13298).

    >>> groups = np.array([0, 0, 1, 1])
    >>> companions(groups, batch=4, others=1).rows(0, 0).reshape(2, 2).max(1).tolist()  # of two classes, in some order
    [3, 1]
    """
    check_option("others", others, lambda m: m >= 1, "1 or more")
    size = others + 1
    check_option(
        "batch", batch, lambda b: b >= size and b % size == 0, f"a multiple of {size}, each anchor and its {others} others"
    )
    groups, anchors = np.asarray(groups), batch // size
    if groups.ndim != 1 or not groups.size:
        raise InputError(f"groups have shape {groups.shape}: expected an integer for each row, [N]")
    names, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable").astype(np.int32)  # rows, class by class
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    if sizes.min() < 2:
        raise InputError(f"class {names[sizes.argmin()]} has 1 row: each image needs another one of its class")

    def rows(seed, step):
        at = endless(seed, step * anchors, anchors, len(order), COMPANIONS)[:, None]  # positions in `order`
        start, most = starts[group[order[at]]], sizes[group[order[at]]] - 1
        other = start + (bits(anchors * others, seed, step, COMPANIONS, 1).reshape(anchors, -1) % most.astype(np.uint64)).astype(
            int
        )
        return order[np.concatenate([at, other + (other >= at)], axis=1)].reshape(-1)

    return Sampler(rows, lambda step: int(step * anchors // len(order)), batch, size)
