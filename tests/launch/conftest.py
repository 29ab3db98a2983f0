"""Runs that several tests look at: finished, stopped, and copies to damage."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from launching import TINY, call, stop_after
from PIL import Image

from kdjax import data
from launch import main, predict


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


@pytest.fixture(scope="session", autouse=True)
def small_maps():
    """Maps of few features: t-SNE of all test digits takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("launch.table.embedding.ROWS", 100)
        yield


@pytest.fixture(scope="session")
def run(launch, tmp_path_factory):
    """A finished run of the quickstart, tiny: `(folder, answer)`."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, launch(f"--workdir={folder}", *TINY)


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


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """The test digits as image files, in the order of their rows."""
    folder = tmp_path_factory.mktemp("pictures")
    test = data.load("digits").test
    batch = test.read(np.arange(test.size))
    for i, image in enumerate(batch["image"]):
        Image.fromarray(image[..., 0]).save(folder / f"{i:04d}.png")
    return folder, batch["label"]
