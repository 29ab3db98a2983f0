import json

import jax.numpy as jnp
import numpy as np

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
