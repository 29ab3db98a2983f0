import numpy as np
import pytest
from scipy.stats import ttest_rel

from kdjax.core.check import InputError
from kdjax.evaluate import paired_interval

A, B = np.random.default_rng(0).normal([[1.0], [0.0]], 1.0, (2, 7))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_equals_scipy(level):
    bounds = ttest_rel(A, B).confidence_interval(level)
    ours = paired_interval(A, B, level=level)
    np.testing.assert_allclose(ours, [(A - B).mean(), bounds.low, bounds.high])


def test_sign_pairing_and_default():
    a, b = [1.0, 12.0], [0.0, 11.0]
    assert paired_interval(a, b) == (1.0, 1.0, 1.0)
    np.testing.assert_allclose(paired_interval([0.0, 1.0], [0.0, 0.0]), [0.5, 0.5 - 6.3531, 0.5 + 6.3531], rtol=1e-4)


@pytest.mark.parametrize(
    ("a", "b", "level", "line"),
    [
        ([1.0], [2.0], 0.95, "results of 1 seed .* 2 or more"),
        ([1.0, 2.0], [2.0], 0.95, r"\(2,\) and \(1,\)"),
        ([1.0, np.nan], [2.0, 1.0], 0.95, "NaN"),
        ([1.0, 2.0], [2.0, np.inf], 0.95, "infinity"),
        ([1.0, 2.0], [2.0, 1.0], 95, "level=95 .* between 0 and 1"),
    ],
)
def test_refusals(a, b, level, line):
    with pytest.raises(InputError, match=line) as error:
        paired_interval(a, b, level=level)
    assert "\n" not in str(error.value)
