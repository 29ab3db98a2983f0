"""Students without data that are lost: their run stops with one line, and what the same command does then."""

from pathlib import Path

import pytest
from launching import call, lines, read

from launch import main

ROOT = Path(__file__).parents[2]
SMALL = (
    f"--config={ROOT / 'configs/data_free.py'}:method=dafl", "--config.seeds=2", "--config.devices=1", "--config.data.batch=16",
    "--config.teacher_training.net.widths=(4,)", "--config.student_training.net.widths=(4,)", "--config.generator.features=2",
    "--config.teacher_training.epochs=1", "--config.student_training.epochs=4", "--config.student_steps_per_epoch=10",
    "--config.method.latent=4", "--config.evaluate_epochs=1", "--config.save_epochs=1",
)  # fmt: skip


@pytest.fixture
def launched(tmp_path, monkeypatch):
    monkeypatch.setenv("KDJAX_CACHE", str(tmp_path / "cache"))
    return lambda *words: call(main, f"--workdir={tmp_path / 'run'}", *SMALL, *words)


def one_line(answer, *said):
    assert answer.code == 1 and answer.err.count("\n") == 1 and len(answer.err) < 400, answer
    assert all(words in answer.err for words in said), answer.err


def test_images_of_few_classes_stop_a_run_which_goes_on_where_that_is_allowed(launched, tmp_path):
    """Of 0.99 of all entropy that there can be a generator in its first steps is far away."""
    strict = ("--config.stop.after=0.25", "--config.stop.class_entropy=0.99", "--config.stop.accuracy=0")
    told = ("error: student stops: class_entropy is ", "at step 4, below 2.28 in 2 of 2 members: the images made are of one class;")
    kept = "or go on with --config.stop.class_entropy=0; the checkpoint of step 2 is kept"
    one_line(launched(*strict), *told, kept)
    again = launched(*strict)
    one_line(again, *told, kept)
    assert "student: resumed at step 2 of 8" in again.out and not (tmp_path / "run" / "report.md").exists()
    on = launched(*strict[:1], "--config.stop.class_entropy=0", "--config.stop.accuracy=0")
    assert (on.code, on.err) == (0, "") and "student: resumed at step 2 of 8" in on.out
    assert [x["step"] for x in lines(tmp_path / "run") if x["stage"] == "student"] == [2, 4, 6, 8]
    assert read(tmp_path / "run", "config.json")["config"]["stop"]["class_entropy"] == 0


def test_a_student_that_guesses_stops_a_run(launched):
    """Here one that has not learned yet, and so many standard errors above a guess that it would have to be right always."""
    one_line(
        launched("--config.stop.after=0", "--config.stop.accuracy=60", "--config.stop.class_entropy=0"),
        "error: student stops: accuracy is ", "at step 2, below 94.9 in 2 of 2 members: the student guesses; try another learning",
        "--config.stop.accuracy=0",
    )  # fmt: skip


def test_a_generator_without_a_finite_number_stops_a_run(launched):
    one_line(
        launched("--config.generator.optimiser.learning_rate=1e30"), "student diverged: ", "at step 2", "lower the learning rate"
    )
