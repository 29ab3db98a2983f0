"""Logistic regression by L-BFGS, scikit-learn's."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.core.extra import extra

FEW = 2**20  # numbers of a training set, below which a fit takes one thread


def check_lbfgs(c: float | None, grid: Sequence[float], folds: int, few: str) -> None:
    """Refuses options; `few` begins the line for a class of one row, where there is such a class."""
    for value in grid if c is None else (c,):
        check_option("C", value, lambda v: v > 0, "a number above 0")
    if c is None:
        check_option("grid", grid, len, "1 value or more")
        check_option("folds", folds, lambda f: f >= 2, "2 or more")
        if few:
            raise InputError(f"{few} a fixed c")


def choose_c(x: np.ndarray, y: np.ndarray, grid: Sequence[float], folds: int, seed: int, iterations: int) -> float:
    """The value of an ascending grid with the highest mean accuracy over the folds, the smallest of equals."""
    with extra("run"):
        from sklearn.model_selection import StratifiedKFold

    splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y))
    means = [np.mean([np.mean(fit_lbfgs(x[a], y[a], x[b], c, iterations).argmax(1) == y[b]) for a, b in splits]) for c in grid]
    return float(grid[int(np.argmax(means))])


def fit_lbfgs(x: np.ndarray, y: np.ndarray, test: np.ndarray, c: float, iterations: int) -> np.ndarray:
    """The probabilities of the test rows `[M, K]` by a fit to rows of all classes, `y` of 0 to K - 1."""
    import warnings

    with extra("run"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

    x, test = standardised(x, test)
    threads = 1 if x.size < FEW else None  # of so few numbers: on a busy machine threads wait for each other, ten times as long
    with warnings.catch_warnings(), _thread_pools().limit(limits=threads):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=c, max_iter=iterations).fit(x, y).predict_proba(test)


@cache
def _thread_pools() -> Any:
    """Those of the libraries that the fits use; to look for them takes a fifth of the time of a small fit."""
    with extra("run"):
        from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def standardised(x: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by the mean and the deviation of the first; what is constant there is only shifted."""
    mean, std = x.mean(axis=0), x.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    return (x - mean) / std, (test - mean) / std
