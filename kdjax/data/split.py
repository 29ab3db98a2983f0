"""Class-balanced cuts of a set of labels, fixed by a seed."""

from collections.abc import Mapping, Sequence

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.data.sampler import FEW_LABELS, shuffled
from kdjax.data.source import Source, subset


def stratified(
    labels: np.ndarray, fraction: float, *, seed: int, stream: int, names: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the same fraction out of every class: `round(fraction * n)` of n rows, at least 1 and at most n - 1.

    Args:
      labels: integers `[N]`; rows without a label (-1) count as a class of their own.
      fraction: the part to cut, above 0 and below 1.
      seed: the seed of the draw.
      stream: what the cut is for, a constant of `kdjax.data.sampler`.
      names: the names of the classes, for the message of an error.

    Returns:
      `(kept, cut)`, two int64 arrays of rows, each in ascending order.

    Raises:
      InputError: when a class has one row only.

    >>> kept, cut = stratified(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0, stream=2)
    >>> kept.size, cut.size
    (6, 2)
    """
    counts = {}
    for label, held in _held(labels, labelled=False).items():
        if held < 2:
            name = repr(names[label]) if 0 <= label < len(names) else label
            what = f"class {name} has 1 example" if label >= 0 else "the set has 1 image"
            raise InputError(f"{what}, too few to cut a part of {fraction} from: expected 2 or more")
        counts[label] = min(max(round(fraction * held), 1), held - 1)
    cut = _drawn(labels, counts, seed, stream)
    return np.setdiff1d(np.arange(len(labels)), cut), cut


def few_labels(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Draws the same number of rows from every class, for probes and few-label settings.

    For one seed a smaller draw is a part of a larger one.

    Args:
      labels: integers `[N]`, 0 or more.
      per_class: rows a class.
      seed: the seed of the draw.

    Returns:
      int64 `[classes * per_class]`, rows in ascending order.

    Raises:
      InputError: when a class holds fewer rows, or a label is missing (-1).

    >>> few_labels(np.array([0, 1, 0, 1, 1]), 2, 0).size
    4
    """
    check_option("per_class", per_class, lambda k: k >= 1, "1 or more")
    held = _held(labels)
    for label, rows in held.items():
        if rows < per_class:
            raise InputError(f"per_class={per_class} is not accepted: class {label} has {rows} examples")
    return _drawn(labels, dict.fromkeys(held, per_class), seed, FEW_LABELS)


def label_fraction(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draws the same part of every class, for probes with 1% or 10% of the labels: `round(fraction * n)` of n rows.

    For one seed a smaller draw is a part of a larger one, also of those of `few_labels`.

    Args:
      labels: integers `[N]`, 0 or more.
      fraction: the part, above 0 and at most 1.
      seed: the seed of the draw.

    Returns:
      int64 `[K]`, rows in ascending order.

    Raises:
      InputError: when the part of a class is less than one row, or a label is missing (-1).

    >>> label_fraction(np.repeat([0, 1], [40, 20]), 0.1, 0).size
    6
    """
    check_option("fraction", fraction, lambda f: 0 < f <= 1, "a number above 0, at most 1")
    counts = {}
    for label, held in _held(labels).items():
        if fraction * held < 1 - 1e-9:  # 0.07 * 100 is a little more than 7, others are a little less
            raise InputError(f"fraction={fraction} is not accepted: of the {held} examples of class {label} it is less than one")
        counts[label] = round(fraction * held)
    return _drawn(labels, counts, seed, FEW_LABELS)


def long_tailed(labels: np.ndarray, ratio: float, seed: int) -> np.ndarray:
    """Draws ever fewer rows of every class, from the first to the last: a long-tailed set out of a balanced one.

        n_k = floor(n ratio^(k / (K - 1))),   k = 0, ..., K - 1

    with K classes, of which the smallest has n rows. For one seed a less even draw is a part of a more even one.

    Args:
      labels: integers `[N]`, 0 or more.
      ratio: of the last class to the first, above 0 and at most 1, where all classes have n rows.
      seed: the seed of the draw.

    Returns:
      int64 `[sum n_k]`, rows in ascending order.

    Raises:
      InputError: when the last class is left with less than one row, or a label is missing (-1).

    Reference:
      Yin Cui, Menglin Jia, Tsung-Yi Lin, Yang Song, Serge Belongie, "Class-Balanced Loss Based on Effective Number of Samples",
      CVPR 2019, arXiv 1901.05555, whose imbalance factor is 1 / ratio.

    >>> labels = np.repeat([0, 1, 2], 100)
    >>> np.bincount(labels[long_tailed(labels, 0.01, 0)]).tolist()
    [100, 10, 1]
    """
    check_option("ratio", ratio, lambda r: 0 < r <= 1, "a number above 0, at most 1")
    held, counts = _held(labels), {}
    for k, label in enumerate(held):
        # A root is a little more or less than the number of rows that it stands for.
        counts[label] = int(min(held.values()) * ratio ** (k / max(len(held) - 1, 1)) + 1e-9)
        if not counts[label]:
            raise InputError(f"ratio={ratio} is not accepted: it leaves class {label} less than one example")
    return _drawn(labels, counts, seed, FEW_LABELS)


def _held(labels: np.ndarray, *, labelled: bool = True) -> dict[int, int]:
    """How many rows each class has; with `labelled` every row must have one."""
    classes, rows = np.unique(labels, return_counts=True)
    if labelled and classes.size and classes[0] < 0:
        raise InputError(f"labels hold {classes[0]}: a class-balanced draw needs a label of 0 or more for every row")
    return dict(zip(classes.tolist(), rows.tolist(), strict=True))


def _drawn(labels: np.ndarray, counts: Mapping[int, int], seed: int, stream: int) -> np.ndarray:
    """So many rows of every class, in ascending order."""
    parts = [np.zeros(0, np.int64)]
    for label, count in counts.items():
        rows = np.flatnonzero(np.asarray(labels) == label)
        parts.append(rows[shuffled(len(rows), seed, label + 1, stream)[:count]])
    return np.sort(np.concatenate(parts))


def keep_labels(source: Source, per_class: int, seed: int) -> tuple[Source, Source]:
    """Hides all but a few labels: the few-label setting, with the other images as an unlabelled transfer set.

    Args:
      source: rows with labels.
      per_class: labels a class that are kept, drawn as in `few_labels`.
      seed: the seed of the draw.

    Returns:
      `(labelled, partly)`: the rows that keep their label; and all rows, with the label -1 for the others.

    Raises:
      InputError: as in `few_labels`.

    >>> from kdjax.data.source import array_source
    >>> labelled, partly = keep_labels(array_source(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 0, 1, 1])), 1, seed=0)
    >>> labelled.size, np.bincount(partly.read(np.arange(4))["label"] + 1).tolist()
    (2, [2, 1, 1])
    """
    labels = source.labels()
    kept = few_labels(labels, per_class, seed)
    hidden = np.full_like(labels, -1)
    hidden[kept] = labels[kept]

    def read(rows):
        return {**source.read(rows), "label": hidden[rows]}

    return subset(source, kept), source._replace(read=read, labels=hidden.copy)
