import numpy as np
import pytest
from sklearn.datasets import load_digits

from kdjax.core.check import InputError
from kdjax.data.digits import read_digits


def test_sizes_and_strata():
    arrays = read_digits()
    assert arrays.train["image"].shape == (1347, 8, 8, 1) and arrays.test["image"].shape == (450, 8, 8, 1)
    assert arrays.train["image"].dtype == np.uint8 and arrays.names == tuple("0123456789")
    total = np.bincount(load_digits().target)
    test = np.bincount(arrays.test["label"])
    np.testing.assert_array_equal(np.bincount(arrays.train["label"]) + test, total)
    assert (abs(test - total / 4) <= 0.5).all()


def test_pixels_are_scikit_learns():
    arrays = read_digits()
    images = np.concatenate([arrays.train["image"], arrays.test["image"]])
    assert images.min() == 0 and images.max() == 255
    ours = np.rint(images[..., 0].astype(float) * 16 / 255).reshape(-1, 64)  # 0 to 16 comes back exactly
    assert sorted(map(tuple, ours)) == sorted(map(tuple, load_digits().data))


def test_nothing_may_follow_the_name():
    with pytest.raises(InputError, match="'digits:9' is not known; accepted: digits"):
        read_digits("9")
