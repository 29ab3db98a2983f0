"""Processes that are killed anywhere end with the same bits as one that is not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import assert_same

from kdjax.core.files import read_lines
from kdjax.train.checkpoint import read_model

ROOT = Path(__file__).parents[2]


def started(folder, *command):
    environment = os.environ | {"KDJAX_CACHE": f"{folder}-cache"}
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_lines(process, folder, count):
    """Waits until the run has logged so many lines, or has ended."""
    path = folder / "metrics.jsonl"
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)


def finished(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def same(a, b, stages):
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
    for name in stages:
        (one, notes), (other, wanted) = (read_model(x / "models" / name) for x in (a, b))
        assert_same(one, other)
        assert notes == wanted


@pytest.mark.parametrize("reader", ["resident", "streaming"])
def test_three_kills_change_no_bit(tmp_path, reader):
    chance, child = random.Random(5), "tests/train/child.py"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished(started(whole, child, str(whole), reader))
    # The run logs 36 lines in all, and saves after each: the moments lie in both stages, before, in and after saves.
    for lines in (2, 11, 20):
        process = started(killed, child, str(killed), reader)
        wait_for_lines(process, killed, lines + chance.randrange(6))
        time.sleep(chance.random() * 0.15)
        assert process.poll() is None, "the run was over before the kill"
        process.kill()
        process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL
    finished(started(killed, child, str(killed), reader))
    same(killed, whole, ("teacher", "student"))


@pytest.fixture
def command():
    """The quickstart on nets so small that it takes seconds; it saves every epoch."""
    small = ("widths=4", "epochs=12", "optimiser.learning_rate=0.05")
    return [
        "launch/main.py", "--config=configs/quickstart.py", "--config.seeds=1", "--config.smoothing=0", "--config.data.batch=256",
        "--config.save_epochs=1", "--config.evaluate_epochs=1",
        *(f"--config.{network}_training.{'net.' if 'widths' in x else ''}{x}" for network in ("teacher", "student") for x in small),
    ]  # fmt: skip


def test_a_terminated_run_saves_exits_with_0_and_goes_on(tmp_path, command):
    process = started(tmp_path / "run", *command, f"--workdir={tmp_path / 'run'}")
    wait_for_lines(process, tmp_path / "run", 2)
    process.terminate()
    output = finished(process)
    assert "stopped by a signal; teacher is saved at step" in output and "Traceback" not in output
    assert not (tmp_path / "run" / "summary.json").exists()
    output = finished(started(tmp_path / "run", *command, f"--workdir={tmp_path / 'run'}"))
    assert "teacher: resumed at step" in output and (tmp_path / "run" / "summary.json").exists()
    lines, steps = (
        read_lines(tmp_path / "run" / "metrics.jsonl"),
        json.loads((tmp_path / "run" / "summary.json").read_text())["steps"],
    )
    assert list(dict.fromkeys(x["stage"] for x in lines)) == list(steps)
    for name, last in steps.items():
        own = [x["step"] for x in lines if x["stage"] == name]
        # One line a block, none twice and none left out.
        assert own == sorted({*range(own[0], last, own[0]), last})
