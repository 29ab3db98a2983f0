"""Precision, recall, density and coverage, against public implementations and by counting."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kdjax.core import InputError
from kdjax.evaluate import _distances, precision_recall

RANDOM = np.random.default_rng(1)
MADE, REAL = RANDOM.normal(size=(23, 3)), 1.3 * RANDOM.normal(size=(31, 3)) + 0.4


def counted(made, real, k):
    """Ball by ball."""
    balls = [
        [np.sort(np.delete(row, i))[k - 1] for i, row in enumerate(cdist(rows, rows))]  # how far each reaches
        for rows in (made, real)
    ]
    apart = cdist(made, real)
    in_real, in_made = apart < np.array(balls[1])[None], apart < np.array(balls[0])[:, None]
    return in_real.any(1).mean(), in_made.any(0).mean(), in_real.sum() / (k * len(made)), in_real.any(0).mean()


def test_public_implementations_give_the_same(golden):
    g = golden("eval/prdc")
    found = precision_recall(g["fake_features"], g["real_features"], k=int(g["hp_nearest_k"]))
    assert found == pytest.approx([float(g[name]) for name in ("precision", "recall", "density", "coverage")], abs=1e-12)
    assert found[:2] == pytest.approx([float(g["precision_fidelity"]), float(g["recall_fidelity"])], abs=1e-6)


@pytest.mark.parametrize("rows", [7, 1024], ids=["blocks", "whole"])
@pytest.mark.parametrize("k", [1, 5, 22])
def test_balls_one_by_one(monkeypatch, rows, k):
    monkeypatch.setattr(_distances, "ROWS", rows)
    assert precision_recall(MADE, REAL, k=k) == pytest.approx(counted(MADE, REAL, k))


def test_limits():
    far = precision_recall(MADE + 100, REAL)
    assert far == (0, 0, 0, 0)
    few = REAL[np.arange(31) % 2]  # a generator of two images: true, and narrow
    found = precision_recall(few, REAL)
    assert found.precision == 1 and found.recall <= 2 / 31
    shifted = precision_recall(MADE + 1e5, REAL + 1e5, k=3)
    assert shifted == pytest.approx(precision_recall(MADE, REAL, k=3))


def test_images_are_rows_of_numbers():
    assert precision_recall(MADE.reshape(23, 3, 1), REAL) == precision_recall(MADE, REAL)


@pytest.mark.parametrize(
    ("features", "reference", "k", "words"),
    [
        (MADE[:, :2], REAL, 5, r"features of shape \(23, 2\) and reference of shape \(31, 3\) .* one width"),
        (MADE[:1], REAL, 1, r"features of shape \(1, 3\) .* 2 rows or more"),
        (MADE, REAL[0], 1, r"reference of shape \(3,\) .* \[N, ...\]"),
        (MADE, REAL, 0, "k=0 .* 1 to 22"),
        (MADE, REAL, 23, "k=23 .* 1 to 22"),
        (MADE, REAL, 1.5, "k=1.5 .* 1 to 22"),
    ],
)
def test_what_is_refused(features, reference, k, words):
    with pytest.raises(InputError, match=words):
        precision_recall(features, reference, k=k)
