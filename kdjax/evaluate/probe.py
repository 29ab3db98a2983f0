"""The offline linear probe: logistic regression on frozen features."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.evaluate.classification import expected_calibration_error

GRID = tuple(10.0**e for e in range(-5, 4))


def linear_probe(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    c: float | None = None,
    grid: Sequence[float] = GRID,
    folds: int = 3,
    seed: int = 0,
    iterations: int = 1000,
) -> dict[str, float]:
    """Multinomial logistic regression by L-BFGS on standardised features.

    Every feature is shifted and scaled to mean 0 and deviation 1 over the training rows, with the same numbers for the
    test rows. The objective is C * (summed cross entropy) + |W|^2 / 2. C is fixed, or the one of the grid with the
    highest mean accuracy over stratified folds of the training rows (the smallest of equals); then all training rows
    are fitted. The test rows choose nothing.

    Args:
      train: features `[N, D]`.
      train_labels: integers `[N]`, 0 or more.
      test: features `[M, D]`.
      test_labels: integers `[M]`.
      c: C, or None to choose it.
      grid: the values of C to choose from, above 0.
      folds: folds of the choice, 2 or more; fewer where a class has fewer rows.
      seed: the seed of the folds.
      iterations: the most steps of L-BFGS. A fit that stops there is taken as it is.

    Returns:
      `{"accuracy": a part of 1, "ece": the expected calibration error of the probabilities in 15 bins, a part of 1, "C": the value
      used}`. A test row of a class that train has not is wrong.

    Raises:
      InputError: when shapes do not fit, a feature is not finite, there is one class only, or a class has one row and
        `c` is None.

    Reference:
      Linus Ericsson, Henry Gouk, Timothy M. Hospedales, "How Well Do Self-Supervised Models Transfer?", CVPR 2021,
      arXiv:2011.13377 (there the grid has 45 values).

    >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> found = linear_probe(x, y, x, y, c=1.0)
    >>> found["accuracy"], found["C"]
    (1.0, 1.0)
    """
    train, train_labels = _rows("train", train, train_labels)
    test, test_labels = _rows("test", test, test_labels)
    if train.shape[1] != test.shape[1]:
        raise InputError(f"test features have width {test.shape[1]}: expected {train.shape[1]}, as in train")
    if train_labels.min() < 0:
        raise InputError(f"train_labels hold {train_labels.min()}: expected integers from 0")
    classes, counts = np.unique(train_labels, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"train_labels hold class {classes[0]} only: expected 2 classes or more")
    for value in grid if c is None else (c,):
        check_option("C", value, lambda v: v > 0, "a number above 0")
    if c is None:
        check_option("grid", grid, len, "1 value or more")
        check_option("folds", folds, lambda f: f >= 2, "2 or more")
        if counts.min() < 2:
            few = classes[counts.argmin()]
            raise InputError(f"train_labels hold 1 row of class {few}: expected 2 or more, or a fixed c")
        c = _choose(train, train_labels, sorted(grid), min(folds, int(counts.min())), seed, iterations)
    p = _probabilities(train, train_labels, test, c, iterations)
    # No class that train has not is ever named.
    known = np.isin(test_labels, classes)
    labels = np.where(known, np.searchsorted(classes, np.where(known, test_labels, classes[0])), -1)
    ece = expected_calibration_error(jnp.asarray(p, jnp.float32), jnp.asarray(labels), probabilities=True)
    return {"accuracy": float(np.mean(p.argmax(1) == labels)), "ece": float(ece), "C": float(c)}


def _choose(x: np.ndarray, y: np.ndarray, grid: list[float], folds: int, seed: int, iterations: int) -> float:
    from sklearn.model_selection import StratifiedKFold

    classes, splits = np.unique(y), list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y))

    def accuracy(c, a, b):
        return np.mean(classes[_probabilities(x[a], y[a], x[b], c, iterations).argmax(1)] == y[b])

    return grid[int(np.argmax([np.mean([accuracy(c, a, b) for a, b in splits]) for c in grid]))]


def _probabilities(x: np.ndarray, y: np.ndarray, test: np.ndarray, c: float, iterations: int) -> np.ndarray:
    """Those of the test rows by a fit to all other rows, `[M, classes]`, classes in ascending order."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, std = x.mean(axis=0), x.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=c, max_iter=iterations).fit((x - mean) / std, y)
    return model.predict_proba((test - mean) / std)


def _rows(name: str, features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    if features.ndim != 2 or 0 in features.shape or labels.shape != features.shape[:1]:
        raise InputError(f"{name} has features {features.shape} and labels {labels.shape}: expected [N, D] and [N]")
    if not np.isfinite(features).all():
        raise InputError(f"{name} features hold NaN or infinity: expected finite numbers")
    return features, labels
