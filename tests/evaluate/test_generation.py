import numpy as np
import pytest
from scipy.linalg import sqrtm

from kdjax.core import InputError
from kdjax.evaluate import frechet_distance, generation, kernel_distance

RANDOM = np.random.default_rng(0)


def test_the_authors_code_gives_the_same(golden):
    g = golden("eval/fid_kid")
    assert frechet_distance(g["features1"], g["features2"]) == pytest.approx(float(g["fid"]), rel=1e-9)
    assert kernel_distance(g["features1"][:40], g["features2"][:40]) == pytest.approx(float(g["kid_full"]), rel=1e-9)
    subsets = [
        kernel_distance(g["features1"][a], g["features2"][b])
        for a, b in zip(g["subset_indices1"], g["subset_indices2"], strict=True)
    ]
    assert np.mean(subsets) == pytest.approx(float(g["kid_subsets_mean"]), rel=1e-9)


def test_the_root_of_the_product_is_scipys():
    x, y = RANDOM.normal(size=(30, 4)), 2 * RANDOM.normal(size=(20, 4)) + 1
    s, r = np.cov(x.T), np.cov(y.T)
    wanted = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(s + r - 2 * sqrtm(s @ r).real)
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=1e-9)


def test_many_rows_are_taken_in_blocks(monkeypatch):
    x, y = RANDOM.normal(size=(30, 4)), RANDOM.normal(size=(20, 4))
    whole = kernel_distance(x, y)
    monkeypatch.setattr(generation, "ROWS", 7)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-9)


def test_fewer_rows_than_features_and_equal_sets():
    few = RANDOM.normal(size=(5, 40))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9) and np.isfinite(frechet_distance(few, few[:2] + 1))


@pytest.mark.parametrize("other", [np.ones((5, 3)), np.ones((1, 4)), np.ones(4)])
@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_shapes_that_are_refused(distance, other):
    with pytest.raises(InputError, match=r"features of shapes \(5, 4\) and .* of 2 rows or more"):
        distance(np.ones((5, 4)), other)
