"""How true made-up images are, and how much of the real ones they cover: two questions to which one distance gives one answer."""

from typing import Any, NamedTuple

import numpy as np

from kdjax.core.check import check_option
from kdjax.evaluate._distances import distances, nearest_others, two_sets


class PrecisionRecall(NamedTuple):
    """Two answers to each question; the second ones hardly heed outliers.

    Attributes:
      precision: the part of the made-up images that lie among real ones.
      recall: the part of the real images that lie among made-up ones.
      density: among how many real images a made-up one lies, of k that are expected; above 1 where they crowd.
      coverage: the part of the real images that have a made-up one near.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(features: Any, reference: Any, *, k: int = 5) -> PrecisionRecall:
    """Precision, recall, density and coverage of made-up images, by balls around the features of one network.

    The ball of a row reaches to the k-th nearest of the other rows of its set, and holds what is closer than that.

        precision  the part of the made-up rows in a ball of a real row          density   their mean number of such balls / k
        recall     the part of the real rows in a ball of a made-up row          coverage  the part of the real balls that hold one

    Args:
      features: of the made-up images, `[N, D]`.
      reference: of real ones, `[M, D]`, by the same network; of each set as many, where numbers are to be compared.
      k: neighbours, from 1 to one less than either set has rows; as published 5 for density and coverage, 3 for the other two.

    Returns:
      All four.

    Raises:
      InputError: for fewer than two rows, features of two widths, or a k out of range.

    Reference:
      Tuomas Kynkäänniemi, Tero Karras, Samuli Laine, Jaakko Lehtinen, Timo Aila, "Improved Precision and Recall Metric for
      Assessing Generative Models", NeurIPS 2019, arXiv:1904.06991; Muhammad Ferjad Naeem, Seong Joon Oh, Youngjung Uh, Yunjey
      Choi, Jaejun Yoo, "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020, arXiv:2002.09797.

    >>> precision_recall([[0.0], [0.1]], [[0.0], [1.0]], k=1)  # no made-up row is near the second real one
    PrecisionRecall(precision=1.0, recall=0.5, density=1.5, coverage=1.0)
    """
    made, real = two_sets("features", features, "reference", reference, least=2)
    most = min(len(made), len(real)) - 1
    check_option("k", k, lambda n: 1 <= int(n) == n <= most, f"1 to {most}, below the rows of either set")
    reach_made, reach_real = nearest_others(made, k), nearest_others(real, k)
    balls = np.empty(len(made))  # of real rows that hold a made-up one
    found, holds = np.zeros((2, len(real)), bool)
    for rows, block in distances(made, real):
        inside = block < reach_real
        balls[rows] = inside.sum(1)
        holds |= inside.any(0)
        found |= (block < reach_made[rows, None]).any(0)
    precision, density = float((balls > 0).mean()), float(balls.mean() / k)
    return PrecisionRecall(precision, float(found.mean()), density, float(holds.mean()))
