"""How closely two lists of numbers go together."""

from collections.abc import Sequence

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.core.extra import extra

COEFFICIENTS = ("pearson", "spearman", "kendall")


def correlation_coefficient(x: Sequence[float], y: Sequence[float], *, kind: str = "pearson") -> float:
    """The correlation of two lists, one number of each belonging together.

    Args:
      x: numbers `[n]`, 2 or more.
      y: numbers `[n]`.
      kind: `"pearson"`, of the numbers as they are; `"spearman"`, that of their ranks, equal ones sharing their mean rank;
        `"kendall"`, tau-b: of all pairs those in the same order minus those in the opposite one.

    Returns:
      Between -1 and 1; NaN where all numbers of one list are equal.

    Raises:
      InputError: for another kind, other shapes, or numbers that are not finite.

    >>> [round(correlation_coefficient([1, 2, 3, 4], [1, 2, 4, 30], kind=kind), 3) for kind in COEFFICIENTS]
    [0.827, 1.0, 1.0]
    """
    check_option("kind", kind, lambda k: k in COEFFICIENTS, " or ".join(COEFFICIENTS))
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise InputError(f"numbers of shapes {a.shape} and {b.shape} are not accepted: expected [n] twice, 2 or more")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("numbers hold NaN or infinity: expected finite ones")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    with extra("run"):
        from scipy import stats

    found = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}[kind](a, b)
    return float(np.clip(found.statistic, -1.0, 1.0))


def accuracy_logit(accuracy: Sequence[float] | np.ndarray, *, rows: int) -> np.ndarray:
    """Accuracies on a scale without ends, `log(p / (1 - p))`, on which 98 and 99 percent lie further apart than 50 and 51.

    Args:
      accuracy: percent, any shape.
      rows: that the accuracies are of. All or none of them right counts as half a row less or more, so that the result is finite.

    Returns:
      float64, of the same shape.

    Raises:
      InputError: for what is no percentage, or fewer than 1 row.

    Reference:
      Linus Ericsson, Henry Gouk, Timothy M. Hospedales, "How Well Do Self-Supervised Models Transfer?", CVPR 2021,
      arXiv:2011.13377, which correlates accuracies so transformed, as Simon Kornblith, Jonathon Shlens, Quoc V. Le, "Do Better
      ImageNet Models Transfer Better?", CVPR 2019, arXiv:1805.08974, do.

    >>> accuracy_logit([50.0, 90.0, 100.0], rows=100).round(3).tolist()
    [0.0, 2.197, 5.293]
    """
    check_option("rows", rows, lambda n: n >= 1, "1 or more")
    p = np.asarray(accuracy, np.float64) / 100
    check_option("accuracy", p.tolist(), lambda _: bool(((p >= 0) & (p <= 1)).all()), "percentages, from 0 to 100")
    p = np.clip(p, 0.5 / rows, 1 - 0.5 / rows)
    return np.log(p / (1 - p))
