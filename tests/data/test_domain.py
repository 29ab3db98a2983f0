import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data import domains, process_rows

OF_ROW = np.array([0] * 11 + [2] * 4 + [1] * 7 + [0] * 2)
COUNTS = (13, 7, 4)


def test_every_step_is_balanced_and_so_is_every_share():
    sampler = domains(OF_ROW, 18)
    for step in range(20):
        rows = sampler.rows(3, step)
        assert rows.dtype == np.int32 and rows.shape == (18,) == (sampler.batch,)
        assert OF_ROW[rows].reshape(-1, 3).tolist() == [[0, 1, 2]] * 6
        parts = [process_rows(rows, p, 3, group=sampler.group) for p in range(3)]
        assert all((np.bincount(OF_ROW[part]) == 2).all() for part in parts)
        np.testing.assert_array_equal(np.concatenate(parts), rows)


def test_each_domain_goes_through_epochs_of_its_own():
    sampler = domains(OF_ROW, 6)  # 2 rows of each
    seen = np.concatenate([sampler.rows(0, step) for step in range(13 * 7 * 4)]).reshape(-1, 3)
    for d, count in enumerate(COUNTS):
        rounds = seen[:, d].reshape(-1, count)
        np.testing.assert_array_equal(np.sort(rounds), np.broadcast_to(np.flatnonzero(np.equal(OF_ROW, d)), rounds.shape))
        assert len({tuple(r) for r in rounds.tolist()}) > 1


def test_epochs_are_those_of_the_smallest():
    assert [domains(OF_ROW, 6).epoch_of(step) for step in range(5)] == [0, 0, 1, 1, 2]


def test_a_domain_smaller_than_its_part_of_a_step():
    rows = domains(np.array([0, 0, 0, 0, 1]), 6).rows(0, 1)
    assert rows[1::2].tolist() == [4, 4, 4]


PINNED = [6, 18, 11, 1, 17, 14]  # part of the format of a run: these numbers do not change


def test_any_step_may_come_first_and_the_order_is_pinned():
    assert domains(OF_ROW, 6).rows(5, 3).tolist() == PINNED
    assert domains(OF_ROW, 6).rows(6, 3).tolist() != PINNED


@pytest.mark.parametrize(
    ("of_row", "batch", "line"),
    [
        ([0, 1, 1, 3], 4, "^domain 2 has no row: .*0 to 3"),
        ([0, 1, -1], 2, "domains hold -1"),
        ([0.0, 1.0], 2, "dtype float64"),
        ([[0, 1]], 2, r"shape \(1, 2\)"),
        (np.zeros(0, int), 2, r"shape \(0,\)"),
        ([0, 1, 2], 4, "batch=4 .*multiple of 3, the number of domains"),
        ([0, 1, 2], 0, "batch=0 .*multiple of 3"),
    ],
)
def test_refusals(of_row, batch, line):
    with pytest.raises(InputError, match=line) as error:
        domains(np.array(of_row), batch)
    assert "\n" not in str(error.value)
