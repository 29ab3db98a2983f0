"""How close made-up images come to real ones, told by the features that one network gives for both."""

from typing import Any

import numpy as np

from kdjax.core import InputError
from kdjax.evaluate._distances import ROWS


def frechet_distance(features: Any, reference: Any) -> float:
    """The Fréchet distance between the Gaussians that have the means and covariances of two sets of features: FID.

        |m - m_r|^2 + tr(S + S_r - 2 (S S_r)^(1/2)),   covariances over n - 1

    The trace of the root is the sum of the singular values of `X X_r^T`, with `X` and `X_r` the centred features over the root of
    n - 1: no matrix is rooted, and fewer rows than features give finite numbers. It is not rooted itself; few rows overstate it.

    Args:
      features: of the made-up images, `[N, D]`.
      reference: of real ones, `[M, D]`, by the same network.

    Returns:
      0 or more, in squared units of the features.

    Raises:
      InputError: for fewer than two rows, and for features of two widths.

    Reference:
      Martin Heusel, Hubert Ramsauer, Thomas Unterthiner, Bernhard Nessler, Sepp Hochreiter, "GANs Trained by a Two Time-Scale
      Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017, arXiv:1706.08500.

    >>> frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])
    9.0
    """
    (mean, x), (mean_r, y) = (_centred(x) for x in _both(features, reference))
    # The nonzero eigenvalues of S S_r are the squares of the singular values of X Y^T, which are those of A B^T where X = Q A and
    # Y = P B have orthonormal Q and P: no larger than D by D, however many the rows.
    a, b = (np.asarray(np.linalg.qr(rows, mode="r")) for rows in (x, y))
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(float(np.sum((mean - mean_r) ** 2) + np.sum(x**2) + np.sum(y**2) - 2 * root), 0.0)


def kernel_distance(features: Any, reference: Any) -> float:
    """The squared maximum mean discrepancy between two sets of features under a cubic kernel: KID.

        mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j),   k(a, b) = (a b / D + 1)^3

    It is unbiased, so that few rows do not overstate it, and may be a little below 0.

    Args:
      features: of the made-up images, `[N, D]`.
      reference: of real ones, `[M, D]`, by the same network.

    Returns:
      The distance; papers often give a thousand times as much.

    Raises:
      InputError: for fewer than two rows, and for features of two widths.

    Reference:
      Mikołaj Bińkowski, Danica J. Sutherland, Michael Arbel, Arthur Gretton, "Demystifying MMD GANs", ICLR 2018, arXiv:1801.01401.

    >>> kernel_distance([[0.0], [0.0]], [[1.0], [1.0]])
    7.0
    """
    x, y = _both(features, reference)

    def total(a, b):  # of all pairs, a block of rows at a time
        return sum(((a[start : start + ROWS] @ b.T / a.shape[1] + 1) ** 3).sum() for start in range(0, len(a), ROWS))

    def within(a):
        itself = (((a**2).sum(1) / a.shape[1] + 1) ** 3).sum()
        return (total(a, a) - itself) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * total(x, y) / (len(x) * len(y)))


def _both(features, reference):
    x, y = (np.asarray(f, np.float64) for f in (features, reference))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise InputError(
            f"features of shapes {x.shape} and {y.shape} are not accepted: expected [N, D] and [M, D] of 2 rows or more"
        )
    return x, y


def _centred(x):
    mean = x.mean(0)
    return mean, (x - mean) / np.sqrt(len(x) - 1)
