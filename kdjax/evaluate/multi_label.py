"""Images of several classes at once, as scenes from above are: average precision, and the linear probe."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.evaluate._lbfgs import check_lbfgs, fit_lbfgs

MEANS = ("micro", "macro", "none")
GRID = tuple(10.0**e for e in range(-4, 3))


def average_precision(scores: np.ndarray, labels: np.ndarray, *, mean: str = "micro") -> np.ndarray:
    """The area under precision as a step function of recall, which needs no threshold.

        AP = sum over distinct scores t, from the highest on, of (R_t - R_before) P_t

    with P_t the part that is right of the pairs whose score is t or more, and R_t the part of all right pairs among them. The order
    of equal scores does not matter.

    Args:
      scores: `[N, K]`, the higher the surer; logits or probabilities.
      labels: `[N, K]` of 0 and 1.
      mean: `"micro"`, of all N K pairs of an image and a class together; `"macro"`, the mean over the classes that occur; `"none"`,
        one a class.

    Returns:
      Parts of 1, float64: `[]`, or `[K]` where there is no mean, NaN for a class that does not occur.

    Raises:
      InputError: for other shapes, labels that are not 0 or 1, scores that are not finite, no label of 1, or a bad option.

    Reference:
      Wang, Albrecht, Ait Ali Braham, Mou, Zhu, "Self-supervised Learning in Remote Sensing: A Review", IEEE GRSM 2022, arXiv
      2206.13188 (micro). The authors' code averages over the batches of the test set; this is of the whole set at once.

    >>> float(average_precision([[0.9, 0.2], [0.4, 0.7]], [[1, 0], [1, 0]]).round(4))
    0.8333
    """
    check_option("mean", mean, lambda m: m in MEANS, " or ".join(MEANS))
    s, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if s.ndim != 2 or s.shape != y.shape or 0 in s.shape:
        raise InputError(f"scores {s.shape} and labels {y.shape} are not accepted: expected [N, K] twice")
    if not np.isfinite(s).all():
        raise InputError("scores hold NaN or infinity: expected finite numbers")
    if not np.isin(y, (0.0, 1.0)).all() or not y.any():
        raise InputError("labels are not accepted: expected 0 and 1, and a 1 somewhere")
    if mean == "micro":
        return np.asarray(_precision(s.ravel(), y.ravel()))
    each = np.array([_precision(*column) for column in zip(s.T, y.T, strict=True)])
    return each if mean == "none" else np.asarray(np.nanmean(each))


def multi_label_probe(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    c: float | None = None,
    grid: Sequence[float] = GRID,
    folds: int = 3,
    iterations: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """A linear classifier on standardised features, of which each class is told by a cross entropy of its own.

    By L-BFGS the objective is C * (binary cross entropy summed over rows and classes) + |W|^2 / 2: each class has a logistic
    regression. C is fixed, or the one of the grid with the highest micro average precision over folds of the training rows (the
    smallest of equals). A class that all training rows have, or none, is given the part of them as its probability.

    Args:
      train: features `[N, D]`.
      train_labels: `[N, K]` of 0 and 1.
      test: features `[M, D]`.
      test_labels: `[M, K]`.
      c: C, or None to choose it.
      grid: the values of C to choose from, above 0.
      folds: of that choice, 2 or more and at most N.
      iterations: the most steps of L-BFGS.
      seed: of the folds.

    Returns:
      `{"micro_average_precision", "macro_average_precision", "C"}`, precisions as parts of 1.

    Raises:
      InputError: for shapes that do not fit, features that are not finite, labels that are not 0 or 1, or a bad option.

    Reference:
      Wang and others, as in `average_precision`; there by SGD, the mean over classes in place of the sum, and no weight decay.

    >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([[0, 1], [0, 1], [1, 0], [1, 0]])
    >>> multi_label_probe(x, y, x, y, c=1.0)["micro_average_precision"]
    1.0
    """
    check_lbfgs(c, grid, folds, "")
    x, y = _rows("train", train, train_labels)
    x_test, y_test = _rows("test", test, test_labels)
    if x.shape[1] != x_test.shape[1] or y.shape[1] != y_test.shape[1]:
        wanted = f"{x.shape[1]} and {y.shape[1]}, as in train"
        raise InputError(f"test has {x_test.shape[1]} features and {y_test.shape[1]} classes: expected {wanted}")
    if c is None:
        check_option("folds", folds, lambda f: f <= len(x), f"at most {len(x)}, the rows")
        part = np.random.default_rng(seed).permutation(len(x)) % folds
        held = [part == k for k in range(folds)]

        def precision(c: float) -> float:
            p = np.concatenate([_fit(x[~rows], y[~rows], x[rows], c, iterations) for rows in held])
            return float(average_precision(p, np.concatenate([y[rows] for rows in held])))

        ascending = sorted(grid)
        c = float(ascending[int(np.argmax([precision(value) for value in ascending]))])
    p = _fit(x, y, x_test, c, iterations)
    micro, macro = (float(average_precision(p, y_test, mean=mean)) for mean in ("micro", "macro"))
    return {"micro_average_precision": micro, "macro_average_precision": macro, "C": float(c)}


def on_several_classes(*, column: str = "classes", fractions: Sequence[float] = (1.0,), draws: int = 1) -> Callable:
    """Makes the measure of an encoder whose images have several classes each, on its tap `"pooled"`, at the end.

    In percent: for each of `fractions` `probe_<...>_percent_micro_average_precision` of `multi_label_probe` on that part of the
    training images, drawn at random, the mean over the draws; and the macro one likewise.

    Args:
      column: of the data set, `[N, K]` of 0 and 1.
      fractions: parts of the training images, of two rows or more.
      draws: of each.
    """

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        if not final:
            return {}
        (taps, known), (test_taps, labels) = (_pooled(collect, part, column) for part in ("train", split))
        found: dict[str, np.ndarray] = {}
        for part in fractions:
            rows = [np.random.default_rng(seed).permutation(len(known))[: round(part * len(known))] for seed in range(draws)]
            each = [
                [multi_label_probe(a[one], known[one], b, labels, folds=min(3, len(one))) for one in rows]
                for a, b in zip(taps, test_taps, strict=True)
            ]
            for what in ("micro_average_precision", "macro_average_precision"):
                means = [100 * np.mean([draw[what] for draw in member]) for member in each]
                found[f"probe_{100 * part:g}_percent_{what}"] = np.asarray(means)
        return found

    return measure


def _pooled(collect: Callable, split: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the first network, `[members, N, D]`, and the classes."""
    outputs, columns = collect(split, "pooled")
    network, taps = next(iter(outputs.items()))
    if "pooled" not in taps:
        raise InputError(f"network {network!r} has no tap 'pooled', which is what a probe sees: expected an encoder that gives it")
    return taps["pooled"], columns[column]


def _precision(scores: np.ndarray, labels: np.ndarray) -> float:
    if not labels.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # the last of equal scores
    right = np.cumsum(labels[order])[ends]
    return float(np.sum(np.diff(right, prepend=0.0) * right / (ends + 1)) / right[-1])


def _fit(x: np.ndarray, y: np.ndarray, test: np.ndarray, c: float, iterations: int) -> np.ndarray:
    """The probability of each class `[M, K]`."""

    def one(labels):
        constant = labels.min() == labels.max()
        return np.full(len(test), labels[0]) if constant else fit_lbfgs(x, labels, test, c, iterations)[:, 1]

    return np.stack([one(labels) for labels in y.T], 1)


def _rows(name: str, features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(features, np.float64), np.asarray(labels, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or 0 in (*x.shape, *y.shape):
        raise InputError(f"{name} has features {x.shape} and labels {y.shape}: expected [N, D] and [N, K]")
    if not np.isfinite(x).all():
        raise InputError(f"{name} features hold NaN or infinity: expected finite numbers")
    if not np.isin(y, (0.0, 1.0)).all() or not y.any():
        raise InputError(f"{name}_labels are not accepted: expected 0 and 1, and a 1 somewhere")
    return x, y
