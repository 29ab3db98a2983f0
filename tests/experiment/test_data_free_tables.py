"""The tables of students without data, by hand."""

import numpy as np
import pytest

from kdjax.experiment.data_free_tables import relative_table, shift_table, tables

MEASURED = {
    "teacher": {"test_accuracy": [80.0]}, "student_alone": {"test_accuracy": [60.0, 50.0]},
    "noise": {"test_accuracy": [20.0, 30.0]},
    "mad": {"test_accuracy": [72.0, 40.0], "test_fid": [1.0, 2.0]},
}  # fmt: skip
LINES = [
    {"stage": "mad", "step": step, "generator_shift": [step / 1e3, 1.0], "average_shift": [0.0, step / 1e4]} | more
    for step, more in ((10, {}), (20, {"test_accuracy": [70.0, 40.0]}), (30, {}), (40, {"test_accuracy": [72.0, 40.0]}))
]


def test_accuracy_is_held_against_the_teacher_and_against_students_with_data():
    rows = relative_table(MEASURED, ("noise", "mad", "gone"), ("student_alone",)).rows
    assert rows["mad"] == {"of teacher, %": [90.0, 50.0], "of student_alone, %": [120.0, 80.0]}
    assert list(rows) == ["noise", "mad"] and rows["noise"]["of teacher, %"] == [25.0, 37.5]


def test_the_last_half_of_the_steps_tells_how_far_a_student_is_moved():
    row = shift_table(LINES, ("mad",)).rows["mad"]
    np.testing.assert_allclose(row["its generator"], [35.0, 1000.0])
    np.testing.assert_allclose(row["the average"], [0.0, 3.5])
    assert not shift_table(LINES, ("dafl",)).rows


@pytest.mark.parametrize(
    ("taught", "lines", "shown"),
    [
        (("student_alone",), LINES, ["relative_accuracy", "stability", "shift"]),
        ((), LINES, ["stability", "shift"]),
        ((), [], []),
    ],
)
def test_a_table_without_rows_is_left_out(taught, lines, shown):
    found = tables(MEASURED, lines, ("student_alone", "noise", "mad"), taught)
    assert [table.name for table in found] == shown
    assert all("student_alone" not in table.rows for table in found)
