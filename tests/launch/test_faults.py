"""Full disks, killed starts, folders that vanish: one line, and the same command goes on."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import TINY

from kdjax.core import InputError, files
from launch.run import experiment, progress, workdir
from launch.table import plots

ROOT = Path(__file__).parents[2]


@pytest.fixture
def finished(run, tmp_path):
    """A copy of the finished run."""
    return Path(shutil.copytree(run[0], tmp_path / "finished"))


def text(folder):
    return (folder / "metrics.jsonl").read_bytes()


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def one_line(answer, *said):
    assert answer.code == 2 and answer.err.startswith("error: ") and answer.err.count("\n") == 1
    assert all(words in answer.err for words in said), answer.err


@pytest.fixture
def uncached(tmp_path, monkeypatch):
    monkeypatch.setenv("KDJAX_CACHE", str(tmp_path / "cache"))


def test_a_run_killed_before_its_first_record_can_be_begun_again(launch, tmp_path, monkeypatch, uncached):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        one_line(launch(f"--workdir={folder}", *TINY), f"{folder}/config.json: {os.strerror(errno.ENOSPC)}; what was saved stays")
    assert os.listdir(folder) == [".lock"]
    answer = launch(f"--workdir={folder}", *TINY)
    assert (answer.code, answer.err) == (0, "")


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [(plots, "draw", "plots"), (experiment, "write_text", "error"), (files, "write_json", "error"), (os, "fsync", "config.json")],
)
def test_a_disk_that_is_full_at_the_end_of_a_run(launch, run, finished, monkeypatch, module, name, said):
    (finished / "summary.json").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(experiment if name == "write_json" else module, name, full)
        one_line(launch(f"--workdir={finished}", *TINY), said, os.strerror(errno.ENOSPC), "the same command goes on from there")
    answer = launch(f"--workdir={finished}", *TINY)
    assert (answer.code, answer.err) == (0, "") and text(finished) == text(run[0])
    assert not [p.name for p in finished.rglob("*partial")]


def test_a_folder_that_is_removed_while_a_run_goes(launch, tmp_path, monkeypatch, uncached):
    folder, advance = tmp_path / "run", progress.Progress.advance

    def remove(self, stage, step, line):
        advance(self, stage, step, line)
        shutil.rmtree(folder)

    with monkeypatch.context() as patched:
        patched.setattr(progress.Progress, "advance", remove)
        one_line(launch(f"--workdir={folder}", *TINY), str(folder))
    assert not folder.exists()  # or the same command would not begin anew


@pytest.mark.parametrize(
    ("left", "free"),
    [("models", True), ("checkpoints/teacher/5.orbax-checkpoint-tmp", True), ("models/mine", True), ("checkpoints/5/x.txt", False)],
)
def test_what_a_killed_start_leaves_is_no_other_run(tmp_path, left, free):
    place = tmp_path / left
    (place.parent if place.suffix == ".txt" else place).mkdir(parents=True)
    if place.suffix == ".txt":
        place.write_text("x")
    try:
        assert not workdir.same_run(tmp_path, {}, {}) and free
    except InputError as error:
        assert "holds 'checkpoints' and no run" in str(error) and not free


@pytest.mark.parametrize("left", [lambda whole: whole[:-9], lambda whole: b"[1]\n", None])
def test_lines_that_a_finished_run_has_lost_are_made_again(launch, run, finished, left):
    path = finished / "metrics.jsonl"
    path.write_bytes(left(text(finished))) if left else path.unlink()
    answer = launch(f"--workdir={finished}", *TINY)
    assert (answer.code, answer.err) == (0, "") and text(finished) == text(run[0])
    assert f"{path} is not as the run left it: it is made again from models/" in answer.out


def test_a_report_that_a_finished_run_has_lost_is_made_again(launch, run, finished):
    (finished / "report.md").unlink()
    answer = launch(f"--workdir={finished}", *TINY)
    assert (answer.code, answer.err) == (0, "")
    assert (finished / "report.md").read_bytes() == (run[0] / "report.md").read_bytes()
    assert "is finished:" in launch(f"--workdir={finished}", *TINY).out


def test_a_finished_run_without_its_networks_is_shown_as_it_is(launch, finished):
    shutil.rmtree(finished / "models")
    (finished / "metrics.jsonl").unlink()
    answer = launch(f"--workdir={finished}", *TINY)
    assert answer.code == 0 and "is finished:" in answer.out and not (finished / "models").exists()


@pytest.mark.parametrize(
    "text",
    ["{", "{}", "null", "[" * 100_000, '{"results": {}}', '{"method": "kd", "data": "x", "seeds": [0], "results": {"a": {}}, '
     '"comparisons": []}', '{"method": "kd", "data": "x", "seeds": [], "results": {"a/b": {"values": [1], "mean": 1, "std": 0}}, '
     '"comparisons": [1]}'],
)  # fmt: skip
def test_a_damaged_summary_is_refused(launch, finished, text):
    (finished / "summary.json").write_text(text)
    one_line(launch(f"--workdir={finished}", *TINY), "summary.json is damaged: remove it, and the same command makes it again")


@pytest.mark.parametrize("text", ["{}", "null", '{"config": 3, "file": "quickstart.py", "variant": ""}', "\udcff", "[" * 100_000])
def test_damaged_records_are_refused(launch, finished, text):
    (finished / "config.json").write_text(text, errors="surrogateescape")
    one_line(launch(f"--workdir={finished}", *TINY), "config.json is", "choose another --workdir, or remove that folder")


def test_an_output_that_is_full_is_one_line():
    with open("/dev/full", "w") as nowhere:
        command = [sys.executable, ROOT / "launch/main.py", "--list"]
        done = subprocess.run(command, stdout=nowhere, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {os.strerror(errno.ENOSPC)}") and done.stderr.count("\n") == 1
