import numpy as np
import pytest

from kdjax import data
from kdjax.core import InputError

CLASSES = np.array([3, 7, 3, 7, 3, 9, 9, 7, 3, 9])


@pytest.mark.parametrize("others", [1, 3])
def test_a_group_is_an_anchor_and_others_of_its_class(others):
    sampler = data.companions(CLASSES, batch=2 * (others + 1), others=others)
    seen = np.concatenate([sampler.rows(0, step).reshape(-1, others + 1) for step in range(5)])
    assert (CLASSES[seen] == CLASSES[seen[:, :1]]).all() and (seen[:, 1:] != seen[:, :1]).all()
    assert sorted(seen[:, 0]) == list(range(10))  # an epoch has each anchor once
    assert [sampler.epoch_of(step) for step in (0, 4, 5)] == [0, 0, 1]
    assert sampler.group == others + 1 and sampler.batch == 2 * (others + 1) and seen.dtype == np.int32


def test_others_are_drawn_evenly_and_anew():
    sampler = data.companions(CLASSES, batch=20, others=1)
    rows = np.stack([sampler.rows(4, step).reshape(-1, 2) for step in range(300)]).reshape(-1, 2)
    found = [(rows[:, 0] == 2) & (rows[:, 1] == other) for other in (0, 4, 8)]
    assert all(80 < np.sum(mask) < 120 for mask in found)
    np.testing.assert_array_equal(sampler.rows(4, 7), sampler.rows(4, 7))
    assert (sampler.rows(4, 7) != sampler.rows(5, 7)).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 6}, r"^batch=6 is not accepted: expected a multiple of 4"),
        ({"batch": 4, "others": 0}, r"^others=0 is not accepted"),
        ({"groups": np.array([0, 0, 1])}, r"^class 1 has 1 row"),
        ({"groups": np.zeros((2, 2), int)}, r"^groups have shape \(2, 2\)"),
    ],
)
def test_what_does_not_go_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        data.companions(**{"groups": CLASSES, "batch": 8} | options)
