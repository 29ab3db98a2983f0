import errno
import json
import os
import subprocess
import sys

import pytest

from kdjax.core import InputError, files


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request):
    """A umask, and the permissions it leaves to files."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def test_writes_a_whole_file_that_those_may_read_whom_the_umask_lets(tmp_path, umask):
    path = tmp_path / "a.json"
    path.write_text("old")
    files.write_json(path, {"x": [1, 2]})
    assert json.loads(path.read_text()) == {"x": [1, 2]}
    assert path.stat().st_mode & 0o777 == umask
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_copied_folder_has_the_permissions_of_the_one_who_copies(tmp_path, umask):
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True, mode=0o700)
    (source / "inner" / "a").write_text("x")
    (source / "inner" / "a").chmod(0o600)
    files.copy_folder(source, tmp_path / "target")
    assert (tmp_path / "target/inner/a").read_text() == "x" and sorted(os.listdir(tmp_path)) == ["source", "target"]
    assert (tmp_path / "target/inner/a").stat().st_mode & 0o777 == umask
    assert (tmp_path / "target/inner").stat().st_mode & 0o666 == umask


def test_a_folder_is_not_copied_over_another(tmp_path):
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("x")
    with pytest.raises(OSError, match="target"):
        files.copy_folder(tmp_path / "source", tmp_path / "target")
    assert os.listdir(tmp_path / "target") == ["target"] and sorted(os.listdir(tmp_path)) == ["source", "target"]


KILLED = """
import os, sys, time
from pathlib import Path
from kdjax.core import files
os.replace = os.fsync = lambda *_: (print("writing", flush=True), time.sleep(60))
files.write_text(Path(sys.argv[1]), "new")
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path):
    path = tmp_path / "a[1].txt"
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout and writer.stdout.readline() == "writing\n"
        (left,) = os.listdir(tmp_path)
        files.remove_partial(tmp_path)
        files.write_text(path, "first")
        assert sorted(os.listdir(tmp_path)) == sorted([left, path.name])
        writer.kill()
    files.write_text(tmp_path / "b.txt", "another")
    assert left in os.listdir(tmp_path)
    files.write_text(path, "second")
    assert sorted(os.listdir(tmp_path)) == [path.name, "b.txt"]
    (tmp_path / ".c.0.partial").mkdir()
    files.remove_partial(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [path.name, "b.txt"]


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (lambda path: files.write_text(path, "x"), lambda path: files.append_lines(path, [{}])):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as raised:
            write(tmp_path / "a")
        assert raised.value.filename == str(tmp_path / "a")


def test_what_cannot_be_written_is_refused_in_one_line_with_the_reason_of_the_system():
    with pytest.raises(InputError) as raised, files.refusing("folder x", "; advice"):
        raise ValueError(f"UNKNOWN: Error writing\n'0/0': {os.strerror(errno.ENOSPC)} [os_error_code='28'], " + 400 * "more ")
    assert str(raised.value) == f"folder x cannot be written ({os.strerror(errno.ENOSPC)}); advice"
    with pytest.raises(InputError, match=r"^it cannot be written \(KeyError\)$"), files.refusing("it"):
        raise KeyError


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"[1]", b"3"])
def test_what_is_no_object_is_refused_or_ends_the_lines(tmp_path, text):
    path = tmp_path / "a"
    path.write_bytes(text)
    with pytest.raises(InputError, match="a is damaged: advice"):
        files.read_json(path, "advice")
    path.write_bytes(b'{"a": 1}\n' + text + b'\n{"b": 1}\n')
    assert files.read_lines(path) == [{"a": 1}]


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"a.json cannot be read \(a named pipe and no file\): advice"):
        files.read_json(tmp_path / "a.json", "advice")
    with pytest.raises(InputError, match=r"cannot be read .*directory"):
        files.read_json(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "b.json")


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


def test_a_folder_is_tried_without_being_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    files.check_folder(tmp_path / "a/b")
    for wrong in ("file", "file/a", "broken"):
        with pytest.raises(OSError, match=r"Not a directory|No such file"):
            files.check_folder(tmp_path / wrong)
    assert sorted(tmp_path.rglob("*")) == before
