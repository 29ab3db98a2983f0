"""The offline linear probe: logistic regression on frozen features, by L-BFGS or by SGD."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.evaluate._lbfgs import check_lbfgs, choose_c, fit_lbfgs
from kdjax.evaluate._sgd import check_sgd, choose_rate, fit_sgd
from kdjax.evaluate.classification import expected_calibration_error

SOLVERS = ("lbfgs", "sgd")
GRID = tuple(10.0**e for e in range(-5, 4))
RATES = (0.05, 0.1, 0.2, 0.3, 0.4)


def linear_probe(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    solver: str = "lbfgs",
    c: float | None = None,
    grid: Sequence[float] = GRID,
    folds: int = 3,
    iterations: int = 1000,
    rates: Sequence[float] = RATES,
    epochs: int = 80,
    batch: int = 256,
    held_out: float = 0.2,
    seed: int = 0,
) -> dict[str, float]:
    """Multinomial logistic regression on standardised features.

    Every feature is shifted and scaled to mean 0 and deviation 1 over the rows that are fitted, with the same numbers for the
    test rows. The test rows choose nothing.

    By L-BFGS the objective is C * (summed cross entropy) + |W|^2 / 2. C is fixed, or the one of the grid with the highest mean
    accuracy over stratified folds of the training rows (the smallest of equals); then all training rows are fitted.

    By SGD it is the mean cross entropy of a batch, without weight decay: momentum 0.9 of Nesterov's kind from weights of 0, the
    rate falling by a cosine from rate * batch / 256 to 0. Of several rates, which are trained side by side, the one with the
    highest accuracy on held-out rows of every class is taken (the smallest of equals); then all training rows are fitted.

    Args:
      train: features `[N, D]`.
      train_labels: integers `[N]`, 0 or more.
      test: features `[M, D]`.
      test_labels: integers `[M]`.
      solver: `"lbfgs"` or `"sgd"`.
      c: C of L-BFGS, or None to choose it.
      grid: the values of C to choose from, above 0.
      folds: folds of that choice, 2 or more; fewer where a class has fewer rows.
      iterations: the most steps of L-BFGS. A fit that stops there is taken as it is.
      rates: learning rates of SGD for a batch of 256, above 0; a single one is taken without a choice.
      epochs: of SGD.
      batch: rows a step of SGD; all rows where there are fewer. An epoch leaves out what is less than a batch.
      held_out: the part of the training rows by which the rate is chosen.
      seed: of the folds, of the rows held out and of the order of batches.

    Returns:
      `{"accuracy": a part of 1, "ece": the expected calibration error of the probabilities in 15 bins, a part of 1}` with the value
      chosen, `"C"` or `"rate"`. A test row of a class that train has not is wrong.

    Raises:
      InputError: when shapes do not fit, a feature is not finite, there is one class only, or a class has one row and there is
        something to choose.

    Reference:
      Linus Ericsson, Henry Gouk, Timothy M. Hospedales, "How Well Do Self-Supervised Models Transfer?", CVPR 2021,
      arXiv:2011.13377 (L-BFGS, there with a grid of 45 values); Jean-Bastien Grill and others, "Bootstrap Your Own Latent: A
      New Approach to Self-Supervised Learning", NeurIPS 2020, arXiv:2006.07733 (SGD and its rates, there on augmented images and
      on features that are not standardised).

    >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> found = linear_probe(x, y, x, y, c=1.0)
    >>> found["accuracy"], found["C"]
    (1.0, 1.0)
    """
    check_option("solver", solver, lambda name: name in SOLVERS, " or ".join(SOLVERS))
    train, train_labels = _rows("train", train, train_labels)
    test, test_labels = _rows("test", test, test_labels)
    if train.shape[1] != test.shape[1]:
        raise InputError(f"test features have width {test.shape[1]}: expected {train.shape[1]}, as in train")
    if train_labels.min() < 0:
        raise InputError(f"train_labels hold {train_labels.min()}: expected integers from 0")
    classes, counts = np.unique(train_labels, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"train_labels hold class {classes[0]} only: expected 2 classes or more")
    few = f"train_labels hold 1 row of class {classes[counts.argmin()]}: expected 2 or more, or" if counts.min() < 2 else ""
    y = np.searchsorted(classes, train_labels)
    if solver == "lbfgs":
        check_lbfgs(c, grid, folds, few)
        c = choose_c(train, y, sorted(grid), min(folds, int(counts.min())), seed, iterations) if c is None else float(c)
        p, chosen = fit_lbfgs(train, y, test, c, iterations), {"C": c}
    else:
        check_sgd(rates, epochs, batch, held_out, few)
        rate = choose_rate(train, y, sorted(rates), epochs, batch, held_out, seed) if len(rates) > 1 else float(rates[0])
        p, chosen = fit_sgd(train, y, test, [rate], epochs, batch, seed)[0], {"rate": rate}
    # No class that train has not is ever named, and what is not finite names none.
    known = np.isin(test_labels, classes)
    labels = np.where(known, np.searchsorted(classes, np.where(known, test_labels, classes[0])), -1)
    ece = expected_calibration_error(jnp.asarray(p, jnp.float32), jnp.asarray(labels), probabilities=True)
    right = (p.argmax(1) == labels) & np.isfinite(p).all(1)
    return {"accuracy": float(np.mean(right)), "ece": float(ece), **chosen}


def _rows(name: str, features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    if features.ndim != 2 or 0 in features.shape or labels.shape != features.shape[:1]:
        raise InputError(f"{name} has features {features.shape} and labels {labels.shape}: expected [N, D] and [N]")
    if not np.isfinite(features).all():
        raise InputError(f"{name} features hold NaN or infinity: expected finite numbers")
    return features, labels
