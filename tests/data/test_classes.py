import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.data.classes import check_classes, empty_classes, some


def test_more_classes_than_images():
    check_classes("x", 3, 3)
    line = r"^npz a.npz: has 256 classes by its labels, which count from 0, and 1 training image: expected no more classes than"
    with pytest.raises(InputError, match=line):
        check_classes("npz a.npz", 256, 1)


def test_classes_without_an_image_are_named():
    assert empty_classes(np.array([1, 0, -1]), ("a", "b")) == ""
    assert empty_classes(np.array([2, -1]), ("a", "b", "c")) == "classes without a training image: 2 of 3 (a, b)"
    assert empty_classes(np.array([-1]), ()) == ""
    names = [f"c{n}" for n in range(300)]
    assert empty_classes(np.array([299]), names).endswith(": 299 of 300 (c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 289 more)")


def test_some():
    assert some(list("abcdefghij")) == "a, b, c, d, e, f, g, h, i, j" and some([]) == ""
