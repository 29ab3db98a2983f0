"""Runs the programs of launch/ in this process, on tiny nets."""

import contextlib
import io
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from launch import cli, experiment, main, predict

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


@pytest.fixture(scope="session")
def launch():
    return lambda *words: call(main, *words)


@pytest.fixture(scope="session")
def classify():
    return lambda *words: call(predict, *words)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of finished stages for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Path(os.environ["KDJAX_CACHE"])


@pytest.fixture(scope="session")
def run(launch, tmp_path_factory):
    """A finished run of the quickstart, tiny: `(folder, answer)`."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, launch(f"--workdir={folder}", *TINY)


def stop_after(patch, blocks):
    """From now on runs are asked to stop after so many blocks."""
    left = [blocks]

    def came(self):
        left[0] -= 1
        return left[0] <= 0

    patch.setattr(experiment._Signals, "came", came)


@pytest.fixture(scope="session")
def stopped(launch, tmp_path_factory):
    """A run stopped by a signal after three of four epochs of its first student."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2 + 3)
        return folder, launch(f"--workdir={folder}", *TINY, "--config.seed=3")


@pytest.fixture
def half(stopped, tmp_path, monkeypatch):
    """A copy of the stopped run, to damage, and a cache of its own."""
    monkeypatch.setenv("KDJAX_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(stopped[0], tmp_path / "half"))


def images(n, size=4, channels=1, classes=3):
    """Random images and labels of every class."""
    pixels = np.random.default_rng(n).integers(0, 256, (n, size, size, channels)).astype(np.uint8)
    return pixels, np.arange(n) % classes


def write_npz(path, n=64, **options):
    (train, labels), (test, test_labels) = images(n, **options), images(16, **options)
    np.savez(path, train_images=train, train_labels=labels, test_images=test, test_labels=test_labels)
    return path
