"""Two and four processes on this machine's loopback are as one."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from process import WIDE, stages, taught, wide
from tiny import assert_close, run

from kdjax.core.files import read_lines
from kdjax.train import run_stages
from kdjax.train.checkpoint import read_model
from kdjax.train.devices import one_device
from kdjax.train.processes import first, gathered, primary, together

HERE = Path(__file__).parent
WRAPPERS = ("jit", "shard_map", "pmap", "streaming")


def started(processes, devices, folder, *what):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    words = [[port, str(i), str(processes), str(devices), str(folder), *what] for i in range(processes)]
    running = [
        subprocess.Popen(
            [sys.executable, "process.py", *w],
            cwd=HERE,
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for w in words
    ]
    for process in running:
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of four processes, then of two; the last of the four is stopped and goes on with the two."""
    folder = tmp_path_factory.mktemp("processes")
    started(4, 1, folder / "4", *WRAPPERS, "restart")
    (folder / "2").mkdir()
    (folder / "4" / "restart").rename(folder / "2" / "restart")
    started(2, 2, folder / "2", *WRAPPERS, "restart", "fsdp", "damaged", "taught")
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The same run in this process, on one device."""
    folder = tmp_path_factory.mktemp("one")
    return folder, run_stages(stages(one_device()), run(folder))


def told(folder, what):
    return [(folder / f"{what}.{i}").read_text() for i in range(int(folder.name))]


def same_as(one, folder):
    for name, result in one[1].items():
        found, notes = read_model(folder / "models" / name)
        assert_close(found, dict(result.weights), 1e-6)
        assert_close(notes["measures"], result.measures, 1e-6)
    lines, wanted = (read_lines(f / "metrics.jsonl") for f in (folder, one[0]))
    assert [(x["stage"], x["step"], x["epoch"]) for x in lines] == [(x["stage"], x["step"], x["epoch"]) for x in wanted]
    for line, other in zip(lines, wanted, strict=True):
        np.testing.assert_allclose(line["loss"], other["loss"], rtol=1e-5)


@pytest.mark.parametrize("processes", ["2", "4"])
@pytest.mark.parametrize("what", WRAPPERS)
def test_processes_equal_one(folder, one, processes, what):
    assert set(told(folder / processes, what)) == {""}
    same_as(one, folder / processes / what)


def test_a_run_of_four_processes_goes_on_with_two(folder, one):
    """With the rows that four processes would have seen, though each of the two now reads twice as many."""
    before, after = told(folder / "4", "restart"), told(folder / "2", "restart")
    assert all(x.startswith("Stopped: stopped by a signal; teacher is saved at step 6 of 12") for x in before)
    assert all(x.startswith("teacher: resumed at step 6 of 12\nteacher: other devices or versions than before") for x in after)
    same_as(one, folder / "2" / "restart")


def test_weights_that_several_processes_hold_together(folder, tmp_path):
    whole = run_stages(wide(), run(tmp_path, splits={"test": WIDE}))["only"]
    found, _ = read_model(folder / "2" / "fsdp" / "models" / "only")
    assert_close(found, dict(whole.weights), 1e-5)


def test_teacher_outputs_are_written_by_one_process_and_read_by_all(folder, tmp_path):
    whole = run_stages(taught(one_device()), run(tmp_path))
    same_as((tmp_path, whole), folder / "2" / "taught")
    assert all("student: teacher outputs of 40 images in 2 views" in x for x in told(folder / "2", "taught"))


def test_a_row_that_one_process_cannot_read_is_refused_by_all(folder):
    line = "InputError: image 30.png: cannot be decoded; --config.data.corrupt=skip takes the next image instead"
    assert [x.splitlines()[-1] for x in told(folder / "2", "damaged")] == [line] * 2


def test_processes_learn_of_each_other(folder):
    for process, text in enumerate(told(folder / "4", "agreements")):
        by_first, by_together = text.splitlines()
        assert by_first == "no from 0"
        assert re.fullmatch("process 1: no from 1" if process == 0 else f"no from {process}", by_together)


def test_alone_a_process_is_the_first():
    assert primary() and gathered(3) == [3] and first(lambda: 4) == together(lambda: 4) == 4
