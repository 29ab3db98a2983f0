import json
import os

import pytest

from kdjax.core import files


def test_writes_a_whole_file_that_others_may_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    files.write_json(path, {"x": [1, 2]})
    assert json.loads(path.read_text()) == {"x": [1, 2]}
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_after_an_error_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(os, broken, fail)
        with pytest.raises(OSError, match="disk full"):
            files.write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_value_that_is_not_json_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"x": object()})
    assert os.listdir(tmp_path) == []


def test_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    assert files.read_lines(path) == []
    files.append_lines(path, [{"a": 1}, {"b": "é\u2028"}])
    files.append_lines(path, [{"c": 3}])
    assert files.read_lines(path) == [{"a": 1}, {"b": "é\u2028"}, {"c": 3}]
    path.write_text(path.read_text()[:-3])
    assert files.read_lines(path) == [{"a": 1}, {"b": "é\u2028"}]
