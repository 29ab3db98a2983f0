"""Students without data whose teacher comes from outside: no training image is read, and the records say so."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import built, call, read, refused
from safetensors.numpy import save_file

from kdjax import data, models
from kdjax.data import Source
from kdjax.experiment import data_free
from launch import main

ROOT = Path(__file__).parents[2]
DAFL = f"--config={ROOT / 'configs/data_free.py'}:method=dafl"
SMALL = (
    "--config.seeds=2", "--config.devices=1", "--config.data.batch=16", "--config.student_training.net.widths=(4,)",
    "--config.generator.features=2", "--config.student_training.epochs=1", "--config.student_steps_per_epoch=10",
    "--config.method.latent=4", "--config.evaluate_epochs=1", "--config.save_epochs=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A teacher of digits, which says itself how it normalises images."""
    own = {"name": "conv_net", "widths": [4], "classes": 10, "mean": [0.25], "std": [0.5]}
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    models.write_weights(path, *models.build(own).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))), own)
    return path


def unread(monkeypatch):
    """From now on whoever reads a training image, or its label, fails."""

    def never(*_):
        raise AssertionError("a training image is read")

    load = data_free.load_data
    watched = lambda *a, **k: (found := load(*a, **k))._replace(train=Source(found.train.size, never, never))  # noqa: E731
    monkeypatch.setattr(data_free, "load_data", watched)


def test_a_student_of_a_teacher_from_outside_reads_no_training_image(file, tmp_path, monkeypatch):
    unread(monkeypatch)
    answer = call(main, DAFL, f"--workdir={tmp_path / 'run'}", f"--config.teacher={file}", *SMALL)
    assert (answer.code, answer.err) == (0, ""), answer
    assert read(tmp_path / "run", "config.json")["data"]["train"] == "none"
    summary = read(tmp_path / "run", "summary.json")
    assert summary["protocol"]["train_images"] == 0 and summary["protocol"]["test_images"] == 450
    assert {"teacher/test_accuracy", "student/test_accuracy", "student/test_fid"} <= set(summary["results"])
    assert "0 training and 450 test images" in (tmp_path / "run" / "report.md").read_text()


def test_the_watch_over_training_images_sees_who_reads_them(tmp_path, monkeypatch):
    """Else the test above could pass for any run: here a teacher is trained."""
    unread(monkeypatch)
    with pytest.raises(AssertionError, match="a training image is read"):
        call(main, DAFL, f"--workdir={tmp_path / 'run'}", "--config.teacher_training.epochs=1", *SMALL)


def test_a_teacher_that_does_not_say_how_it_normalises_images_is_asked_for_it(tmp_path, monkeypatch):
    """Training images, which others measure it on, are not read."""
    unread(monkeypatch)
    blank = models.resnet8(10).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    state = {name: np.asarray(x) for name, x in models.to_pytorch("resnet8", *blank).items()}
    save_file(state, tmp_path / "net.pth")
    words = (f"--config={ROOT / 'configs/data_free.py'}:teacher=resnet8", f"--config.teacher={tmp_path / 'net.pth'}")
    small = [word for word in SMALL if "method" not in word]
    refused(
        call(main, *words, f"--workdir={tmp_path / 'run'}", *small),
        "--config.teacher_mean=() is not accepted: ", "net.pth does not say how it normalises images; expected a number a channel",
    )  # fmt: skip
    given = ("--config.teacher_mean=0.2", "--config.teacher_std=0.3")
    student = built("data_free.py:teacher=resnet8", words[1], *given).stages["student"].nets["student"]
    assert (student["mean"], student["std"]) == ([0.2], [0.3])


def test_test_images_alone_are_enough(file, tmp_path):
    digits = data.load("digits").test
    rows = digits.read(np.arange(digits.size))
    np.savez(tmp_path / "test.npz", test_images=rows["image"], test_labels=rows["label"])
    words = (f"--config.teacher={file}", f"--config.data.source=npz:{tmp_path / 'test.npz'}")
    answer = call(main, DAFL, f"--workdir={tmp_path / 'run'}", *words, *SMALL)
    assert (answer.code, answer.err) == (0, ""), answer
    results = read(tmp_path / "run", "summary.json")["results"]
    assert {"teacher/test_accuracy", "student/test_accuracy", "student/test_fid"} <= set(results)


def test_a_teacher_is_enough(file, tmp_path):
    words = (DAFL, f"--workdir={tmp_path / 'run'}", f"--config.teacher={file}", "--config.data.source=none:8x8x1:10", *SMALL)
    answer = call(main, *words)
    assert (answer.code, answer.err) == (0, ""), answer
    assert "data: there are no images: nothing is measured on real ones" in answer.out
    found = {name.partition("/test_")[2] for name in read(tmp_path / "run", "summary.json")["results"]}
    assert found == {"class_entropy", "synthetic_agreement", "batch_norm_distance", "diversity", "duplicates"}
    report = (tmp_path / "run" / "report.md").read_text()
    assert "0 training and 0 test images" in report and "student_images.png" in report
    assert "is finished:" in call(main, *words).out
