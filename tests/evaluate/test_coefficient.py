import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.evaluate import accuracy_logit, correlation_coefficient

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 6, 15).astype(float)  # with ties
Y = X + RANDOM.normal(size=15).round(0)


def ranks(x):
    return np.array([np.mean([k for k, other in enumerate(np.sort(x), 1) if other == value]) for value in x])


def tau_b(x, y):
    a, b = (np.sign(v[:, None] - v[None])[np.triu_indices(len(v), 1)] for v in (x, y))
    return np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2))


@pytest.mark.parametrize(
    ("kind", "by_hand"),
    [
        ("pearson", lambda x, y: np.corrcoef(x, y)[0, 1]),
        ("spearman", lambda x, y: np.corrcoef(ranks(x), ranks(y))[0, 1]),
        ("kendall", tau_b),
    ],
)
def test_coefficients_by_hand(kind, by_hand):
    assert correlation_coefficient(X, Y, kind=kind) == pytest.approx(by_hand(X, Y), rel=1e-12)
    assert correlation_coefficient(X, -Y, kind=kind) == pytest.approx(-by_hand(X, Y), rel=1e-12)
    assert correlation_coefficient(X, 3 * X + 1, kind=kind) == pytest.approx(1, rel=1e-12)
    assert np.isnan(correlation_coefficient(X, np.ones(15), kind=kind))


def test_logits_of_accuracies():
    p = np.array([[0.2, 0.9], [0.5, 0.999]])
    np.testing.assert_allclose(accuracy_logit(100 * p, rows=10000), np.log(p / (1 - p)), rtol=1e-10)
    none, half_a_row, whole = accuracy_logit([0.0, 100 * 0.5 / 450, 100.0], rows=450)
    assert none == half_a_row == pytest.approx(np.log(0.5 / 449.5)) and whole == pytest.approx(-none)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: correlation_coefficient([1, 2], [1, 2], kind="cosine"), "kind='cosine' is not accepted: expected pearson or"),
        (lambda: correlation_coefficient([1, 2], [1, 2, 3]), r"numbers of shapes \(2,\) and \(3,\) are not accepted"),
        (lambda: correlation_coefficient([1], [1]), r"expected \[n\] twice, 2 or more"),
        (lambda: correlation_coefficient([1, np.inf], [1, 2]), "numbers hold NaN or infinity"),
        (lambda: accuracy_logit([101.0], rows=5), "accuracy=.* is not accepted: expected percentages"),
        (lambda: accuracy_logit([50.0], rows=0), "rows=0 is not accepted: expected 1 or more"),
    ],
)
def test_refusals(call, line):
    with pytest.raises(InputError, match=line):
        call()
