import json

import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core.files import read_lines
from kdjax.train import Records


def filled(folder):
    records = Records(folder)
    for name, step in (("a", 2), ("a", 4), ("b", 2), ("b", 4), ("b", 6)):
        records.add([{"stage": name, "step": step, "loss": jnp.float32([step, 0.5])}])
        records.time(name, step, seconds=1.23456)
    return records


def steps(lines):
    return [(x["stage"], x["step"]) for x in lines]


def test_lines_behind_a_step_are_cut(tmp_path):
    records = filled(tmp_path)
    records.cut(["a", "b", "c"], "b", 4)
    kept = [("a", 2), ("a", 4), ("b", 2), ("b", 4)]
    assert (
        steps(records.lines) == steps(read_lines(tmp_path / "metrics.jsonl")) == steps(read_lines(tmp_path / "times.jsonl")) == kept
    )
    assert steps(records.of("b")) == kept[2:]
    records.add([{"stage": "b", "step": 6}])
    assert steps(Records(tmp_path).lines) == [*kept, ("b", 6)]
    records.cut(["a", "b"], "a", -1)
    assert records.lines == [] and (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_torn_last_line_is_dropped_and_written_over(tmp_path):
    whole = filled(tmp_path).lines
    path = tmp_path / "metrics.jsonl"
    before = path.read_bytes()
    path.write_bytes(before[:-9])
    records = Records(tmp_path)
    assert records.lines == whole[:-1]
    records.cut(["a", "b"], "b", 4)
    records.add(whole[-1:])
    assert path.read_bytes() == before


@pytest.mark.parametrize("left", [lambda whole: whole, lambda whole: whole[:-9], lambda whole: b"", lambda whole: None])
def test_the_lines_of_stages_come_back_where_they_were(tmp_path, left):
    whole, path = filled(tmp_path), tmp_path / "metrics.jsonl"
    before, times = path.read_bytes(), (tmp_path / "times.jsonl").read_bytes()
    path.unlink() if left(before) is None else path.write_bytes(left(before))
    records = Records(tmp_path)
    for stage in ("a", "b"):
        records.put(["a", "b"], stage, whole.of(stage))
    assert records.lines == whole.lines and path.read_bytes() == before
    assert (tmp_path / "times.jsonl").read_bytes() == times


def test_files_that_hold_the_lines_already_are_left_alone(tmp_path):
    records, path = filled(tmp_path), tmp_path / "metrics.jsonl"
    before = path.stat()
    records.put(["a", "b"], "a", records.of("a"))
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_of_a_stage_that_grows_later_ones_are_dropped_until_they_are_put(tmp_path):
    records, path = filled(tmp_path), tmp_path / "metrics.jsonl"
    before, later = path.read_bytes(), records.of("b")
    first = records.of("a")
    records.put(["a", "b"], "a", first[:1], grows=True)
    assert steps(read_lines(path)) == [("a", 2)]
    records.add(first[1:])
    records.put(["a", "b"], "b", later)
    assert path.read_bytes() == before
    assert steps(read_lines(tmp_path / "times.jsonl")) == [("a", 2), ("b", 2), ("b", 4), ("b", 6)]


def test_lines_of_anything_else_are_left_out(tmp_path):
    text = '{"stage": 1, "step": 2}\n{"loss": 1}\n{"stage": "a", "step": "2"}\n{"stage": "a", "step": 2}\n[]\n'
    (tmp_path / "metrics.jsonl").write_text(text)
    assert Records(tmp_path).lines == [{"stage": "a", "step": 2}]


def test_numbers_are_plain_and_what_is_not_finite_is_null(tmp_path):
    Records(tmp_path).add(
        [{"stage": "a", "step": 1, "x": np.array([1.0, np.nan]), "y": jnp.bfloat16(0.5), "z": float("inf"), "n": 3}]
    )
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=lambda name: 1 / 0) == {
        "stage": "a", "step": 1, "x": [1.0, None], "y": 0.5, "z": None, "n": 3,
    }  # fmt: skip
    assert Records(tmp_path).lines == [json.loads(text)]


def test_times_are_kept_apart(tmp_path):
    filled(tmp_path)
    assert "seconds" not in (tmp_path / "metrics.jsonl").read_text()
    assert read_lines(tmp_path / "times.jsonl")[0] == {"stage": "a", "step": 2, "seconds": 1.2346}
