"""TensorBoard events: every line of metrics.jsonl once, whatever happened to the run. Read without TensorFlow."""

import importlib.util
import resource
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from launch.run.tensorboard import Events


def events(folder):
    """Everything in the event files of a run, by the folder below `tensorboard`: length, check, message, check, ..."""
    for path in sorted((folder / "tensorboard").rglob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            yield path.parent.name, Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length


def points(folder):
    """`(folder, tag, step, value)` of every scalar."""
    return [(f, v.tag, e.step, v.simple_value) for f, e in events(folder) for v in e.summary.value if v.HasField("simple_value")]


def line(stage, step, *losses):
    return {"stage": stage, "step": step, "epoch": 1, "loss": list(losses)}


LINES = [line("teacher", 5, 2.0), line("teacher", 10, 1.0), line("student", 5, 4.0, 6.0), line("student", 10, 1.0, 3.0)]
LINES[1]["alarms"] = {"loss": "words, which are no point"}
MEAN = [
    ("mean", "teacher/loss", 5, 2.0),
    ("mean", "teacher/loss", 10, 1.0),
    ("mean", "student/loss", 5, 5.0),
    ("mean", "student/loss", 10, 2.0),
]
MEMBERS = [
    ("member0", "student/loss", 5, 4.0),
    ("member0", "student/loss", 10, 1.0),
    ("member1", "student/loss", 5, 6.0),
    ("member1", "student/loss", 10, 3.0),
]


def test_means_and_members_are_points_of_one_tag(tmp_path):
    with Events(tmp_path) as found:
        for i in range(len(LINES)):
            found.follow(LINES[: i + 1])
        found.follow(LINES)
    assert points(tmp_path) == MEAN + MEMBERS


def test_a_full_disk_raises_and_does_not_wait_for_ever(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match="File too large") as raised, Events(tmp_path) as found:
        found.follow(LINES)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
        try:
            found.follow([*LINES, *[line("more", step, 1.0) for step in range(999)]])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(tmp_path / "tensorboard/mean")


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_resumed_run_has_no_point_twice(kept, tmp_path):
    ahead = [*LINES[:3], line("student", 10, 9.0, 9.0)]  # what a killed run had written behind its checkpoint
    with Events(tmp_path) as found:
        found.follow(ahead)
    with Events(tmp_path) as found:
        found.follow(ahead)
        for i in range(kept, len(LINES)):  # metrics.jsonl was cut back, and goes on
            found.follow(LINES[: i + 1])
    assert points(tmp_path) == MEAN + MEMBERS


def test_a_torn_file_of_a_killed_run_is_written_anew(tmp_path):
    with Events(tmp_path) as found:
        found.follow(LINES)
    (path,) = (tmp_path / "tensorboard/mean").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    with Events(tmp_path) as found:
        found.follow(LINES)
    assert points(tmp_path) == MEAN + MEMBERS


def test_a_live_board_is_told_to_forget(tmp_path):
    with Events(tmp_path) as found:
        found.follow(LINES)
    starts = [(folder, e.step) for folder, e in events(tmp_path) if e.HasField("session_log")]
    assert starts == [("mean", 0), ("member0", 0), ("member1", 0)]


def test_what_is_not_finite_is_left_out(tmp_path):
    with Events(tmp_path) as found:
        found.follow([line("student", 5, 1.0, None), line("student", 10, 1.0, float("inf"))])
    assert [p[:3] for p in points(tmp_path)] == [("member0", "student/loss", 5), ("member0", "student/loss", 10)]


def test_every_point_of_a_sweep_has_a_mean_of_its_own(tmp_path):
    swept = {"student": SimpleNamespace(hyper={"rate": np.array([0.1, 0.5])}), "teacher": SimpleNamespace(hyper=None)}
    with Events(tmp_path, stages=swept) as found:
        found.follow([line("student", 5, 1.0, 3.0), line("teacher", 5, 2.0)])
    means = [(folder, tag, value) for folder, tag, _, value in points(tmp_path) if folder.startswith("mean")]
    assert sorted(means) == [
        ("mean", "teacher/loss", 2.0),
        ("mean_rate=0.1", "student/loss", 1.0),
        ("mean_rate=0.5", "student/loss", 3.0),
    ]


def test_plots_are_images(tmp_path):
    (tmp_path / "plots").mkdir()
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(tmp_path / "plots/curves.png")
    with Events(tmp_path) as found:
        found.follow(LINES)
    found.show(tmp_path / "plots")
    images = [
        (f, v.tag, v.image.height, v.image.width) for f, e in events(tmp_path) for v in e.summary.value if v.HasField("image")
    ]
    assert images == [("plots", "curves", 6, 9)] and points(tmp_path) == MEAN + MEMBERS


@pytest.mark.parametrize("on", [True, False])
def test_without_the_package_or_elsewhere_nothing_is_written(on, tmp_path, monkeypatch):
    if on:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with Events(tmp_path, on=on) as found:
        found.follow(LINES)
    found.show(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_loaded_with_the_first_point():
    code = "import sys, pathlib, launch.run.tensorboard as t; t.Events(pathlib.Path('x')); print('tensorboardX' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
