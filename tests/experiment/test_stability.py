"""Mean and deviation of accuracy over evaluations."""

import statistics

import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.experiment.stability import evaluations, stability_table

CURVE = np.random.default_rng(0).uniform(20, 99, (7, 3))


@pytest.mark.parametrize(("share", "last"), [(0.5, 4), (0.3, 3), (1.0, 7)])
def test_each_seed_by_itself(share, last):
    row = stability_table({"dafl": CURVE}, share=share).rows["dafl"]
    seeds = [list(map(float, CURVE[-last:, seed])) for seed in range(3)]
    np.testing.assert_allclose(row["mean"], [statistics.mean(x) for x in seeds], rtol=1e-12)
    np.testing.assert_allclose(row["deviation"], [statistics.stdev(x) for x in seeds], rtol=1e-12)


def test_seeds_that_lie_apart_are_steady_all_the_same():
    steady, unsteady = [[90.0, 60.0]] * 4, [[60.0, 60.0], [90.0, 90.0]] * 2
    rows = stability_table({"steady": steady, "unsteady": unsteady}).rows
    assert rows["steady"]["deviation"] == [0, 0] and min(rows["unsteady"]["deviation"]) > 20
    assert rows["steady"]["mean"] == [90, 60]


def test_what_has_too_few_evaluations():
    table = stability_table({"once": [[80.0]], "never": [], "twice": [[80.0], [90.0]]}, share=1.0)
    assert table.rows["once"] == {"mean": [80.0]} and "never" not in table.rows and table.columns == ["mean", "deviation"]


def test_a_seed_that_diverged_does_not_touch_the_others():
    row = stability_table({"mad": [[80.0, 70.0], [82.0, np.nan]]}, share=1.0).rows["mad"]
    assert row["mean"][0] == 81 and np.isnan(row["mean"][1]) and np.isnan(row["deviation"][1])


def test_lines_of_a_run():
    lines = [
        {"stage": "teacher", "step": 5, "test_accuracy": 99.0},
        {"stage": "mad", "step": 5, "loss": [1.0, 2.0]},
        {"stage": "mad", "step": 10, "test_accuracy": [70.0, None], "val_accuracy": [1.0, 1.0]},
        {"stage": "mad", "step": 20, "test_accuracy": [80.0, 60.0]},
    ]
    found = evaluations(lines)
    assert found["teacher"] == [[99.0]] and found["mad"][1] == [80, 60] and np.isnan(found["mad"][0][1])
    assert list(evaluations(lines, "val_accuracy")) == ["mad"]


@pytest.mark.parametrize(
    ("curve", "share", "line"),
    [
        ([[1.0]], 0.0, "share=0.0 is not accepted"),
        ([[1.0]], 1.5, "above 0 and at most 1"),
        ([1.0, 2.0], 0.5, r"the curve of 'dafl' has shape \[2\]: expected \[evaluations, seeds\]"),
    ],
)
def test_wrong_input(curve, share, line):
    with pytest.raises(InputError, match=line):
        stability_table({"dafl": curve}, share=share)
