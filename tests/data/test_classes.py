import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.data import column_source, numbers_of
from kdjax.data.classes import check_classes, empty_classes, keep_classes, some


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


def test_a_range_of_classes_is_a_task_of_its_own():
    whole = column_source({"image": np.arange(6)[:, None], "label": np.array([2, 0, 3, -1, 2, 1])})
    kept = keep_classes(whole, 2, 4)
    found = kept.read(np.array([2, 0]))
    assert kept.size == 3 and kept.labels().tolist() == [0, 1, 0] and numbers_of(kept).tolist() == [0, 2, 4]
    assert found["image"][:, 0].tolist() == [4, 0] and found["label"].tolist() == [0, 0] and found["label"].dtype == np.int32
    assert whole.read(np.array([0]))["label"].tolist() == [2]
    with pytest.raises(InputError, match="classes 7 to 8 have no row"):
        keep_classes(whole, 7, 9)
