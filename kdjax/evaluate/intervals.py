"""Whether a difference between two runs is more than the luck of the seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.core.extra import extra


class Interval(NamedTuple):
    """A mean, or a mean difference, and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


def paired_interval(a: Sequence[float], b: Sequence[float], *, level: float = 0.95) -> Interval:
    """The mean of a - b over seeds with its confidence interval, by Student's t.

    mean +- t * s / sqrt(n), where s is the standard deviation of the differences (n - 1 in the denominator) and t the
    quantile (1 + level) / 2 of Student's distribution with n - 1 degrees of freedom.

    Args:
      a: one result a seed, `[n]`, n at least 2.
      b: the results to compare with, `[n]`, in the same order of seeds.
      level: the coverage, between 0 and 1.

    Returns:
      `(mean, low, high)`, in the units of the results.

    Raises:
      InputError: when the lengths differ, n is below 2, or a result is not finite.

    >>> [round(x, 2) for x in paired_interval([90.0, 92.0, 91.0], [89.0, 90.0, 91.0])]
    [1.0, -1.48, 3.48]
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"results have shapes {x.shape} and {y.shape}: expected [n] twice, one number a seed")
    if len(x) < 2:
        raise InputError(f"results of {len(x)} seed are given: an interval needs 2 or more")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("results hold NaN or infinity: expected finite numbers")
    check_option("level", level, lambda p: 0 < p < 1, "between 0 and 1")
    with extra("run"):
        from scipy.stats import t

    gap = x - y
    half = t.ppf((1 + level) / 2, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap))
    return Interval(float(gap.mean()), float(gap.mean() - half), float(gap.mean() + half))
