"""Runs the programs of launch/ in this process, on tiny nets."""

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from launch import main
from launch.run import cli, experiment

ROOT, KILLED = Path(__file__).parents[2], Path(__file__).parent / "killed.py"
CONFIGS = sorted(p.name for p in (ROOT / "configs").glob("[!_]*.py"))

TINY = (
    "--config.devices=1",
    "--config.seeds=2",
    "--config.smoothing=0",
    "--config.baseline_rates=()",
    "--config.evaluate_epochs=1",
    "--config.save_epochs=1",
    "--config.teacher_training.epochs=2",
    "--config.teacher_training.net.widths=(8,)",
    "--config.student_training.epochs=4",
    "--config.student_training.net.widths=(4,)",
)

# For configs/benchmark.py: all labels of a few digits, each method at the learning rate of the config.
BENCHMARK = (
    *(word for word in TINY if "smoothing" not in word),
    "--config.sweep=",
    "--config.labels_per_class=0",
    "--config.data.image_size=0",
    "--config.data.source=digits",
    "--config.data.train_images=200",
    "--config.teacher_training.epochs=1",
)


class Answer(NamedTuple):
    """What a program said."""

    code: int
    out: str
    err: str


def call(program, *words):
    """Runs `main` or `predict` as `python launch/<program>.py *words` would."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [f"launch/{program.__name__}.py", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.run(program.main)
    finally:
        sys.argv = before
    return Answer(ended.value.code or 0, out.getvalue(), err.getvalue())


def launched(folder, *words):
    """What a run in a folder says that ends well, with a cache of finished stages of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDJAX_CACHE", f"{folder}-cache")
        answer = call(main, f"--workdir={folder}", *words)
    assert (answer.code, answer.err) == (0, ""), answer
    return answer.out


def kill(folder, stage, step, *words):
    """Starts or goes on with such a run, and kills it behind a step of a stage."""
    command = [sys.executable, KILLED, stage, str(step), f"--workdir={folder}", *words]
    environment = os.environ | {"KDJAX_CACHE": f"{folder}-cache"}
    found = subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == -signal.SIGKILL, found.stderr
    assert [(x["stage"], x["step"]) for x in lines(folder)][-1] == (stage, step)


def stop_after(patch, blocks):
    """From now on runs are asked to stop after so many blocks."""
    left = [blocks]

    def came(self):
        left[0] -= 1
        return left[0] <= 0

    patch.setattr(experiment._Signals, "came", came)


def images(n, size=4, channels=1, classes=3):
    """Random images and labels of every class."""
    pixels = np.random.default_rng(n).integers(0, 256, (n, size, size, channels)).astype(np.uint8)
    return pixels, np.arange(n) % classes


def write_npz(path, n=64, **options):
    (train, labels), (test, test_labels) = images(n, **options), images(16, **options)
    np.savez(path, train_images=train, train_labels=labels, test_images=test, test_labels=test_labels)
    return path


def read(folder, name):
    """A record of a run."""
    return json.loads((folder / name).read_text())


def lines(folder, name="metrics.jsonl"):
    """A record of a run that is written line by line."""
    return [json.loads(x) for x in (folder / name).read_text().splitlines()]


def built(file, *words):
    """The experiment of a file in configs/."""
    module, config = cli.read_config(str(ROOT / "configs" / file), words)
    return module.build(config)


def snapshot(folder):
    """Every path below a folder, with a digest of its content."""
    return {p: hashlib.sha256(p.read_bytes()).digest() if p.is_file() else None for p in folder.rglob("*")}


def refused(answer, *said):
    """Whether the answer is one line of refusal that says so."""
    lines = answer.err.splitlines()
    assert answer.code == 2, answer
    assert len(lines) == 1 and lines[0].startswith("error: "), answer
    for words in said:
        assert words in lines[0], answer
    assert len(lines[0]) < 500
