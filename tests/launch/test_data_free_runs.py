"""Runs without data: killed in the midst of a round they end with the same bits, on other devices near to them."""

from pathlib import Path

import jax
import numpy as np
import pytest
from launching import kill, launched, lines, read, stop_after

from kdjax.train.checkpoint import read_model

ROOT = Path(__file__).parents[2]
METHODS = ("cmi", "fast_dfkd")  # in the order of their stages
BLOCK, STEPS = 7, {"cmi": 28, "fast_dfkd": 24}  # rounds of three steps for images and four of the student, but for a warm-up
ROUNDS = {"synthesis_steps": 3, "student_steps": 4, "pool": 24, "latent": 4}
SMALL = (
    f"--config={ROOT / 'configs/data_free_benchmark.py'}:methods={'/'.join(METHODS)}", "--config.references=()", "--config.seeds=1",
    "--config.data.batch=16", "--config.teacher_training.net.widths=(4,)", "--config.student_training.net.widths=(4,)",
    "--config.teacher_training.epochs=1", "--config.student_training.epochs=4", "--config.generator.features=2",
    "--config.evaluate_epochs=2", "--config.save_epochs=2", "--config.methods.cmi.bank=32", "--config.methods.cmi.cached=16",
    "--config.methods.fast_dfkd.warm_up=1", "--config.stop.after=0.99",  # they hardly learn
    *(f"--config.methods.{m}.{k}={v}" for m in METHODS for k, v in ROUNDS.items()),
)  # fmt: skip


def models(folder):
    return {name: read_model(folder / "models" / name)[0] for name in ("teacher", *METHODS)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    launched(folder, *SMALL)
    return folder


def test_a_kill_in_the_midst_of_a_round_changes_no_bit(whole, tmp_path):
    """The warm-up shifts rounds against saves: what is saved of `fast_dfkd` at step 14 is in the midst of one."""
    folder = tmp_path / "run"
    for name in METHODS:
        kill(folder, name, 3 * BLOCK, *SMALL)
    said = launched(folder, *SMALL)
    assert f"{METHODS[-1]}: resumed at step {2 * BLOCK} of {STEPS[METHODS[-1]]}" in said
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    jax.tree.map(np.testing.assert_array_equal, models(folder), models(whole))
    assert read(folder, "summary.json")["results"] == read(whole, "summary.json")["results"]


def test_a_change_of_devices_in_the_midst_of_a_round_ends_near_to_it(whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        teacher = len([x for x in lines(whole) if x["stage"] == "teacher"])
        stop_after(patch, teacher + 3)
        said = launched(folder, *SMALL, "--config.devices=1")
    assert f"stopped by a signal; cmi is saved at step {3 * BLOCK}" in said
    launched(folder, *SMALL, "--config.devices=8")
    ours, wanted = models(folder), models(whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-3), ours["cmi"], wanted["cmi"])


def test_the_images_are_measured_and_shown_and_how_steady_students_are(whole):
    summary = read(whole, "summary.json")
    results, (steady,) = summary["results"], summary["tables"]
    assert steady["name"] == "stability" and list(steady["rows"]) == list(METHODS)
    for name in METHODS:
        assert {f"{name}/test_{m}" for m in ("accuracy", "relative_accuracy", "class_entropy", "fid", "recall")} <= set(results)
        for picture in ("images", "frames"):
            assert (whole / "plots" / f"{name}_{picture}.png").is_file()
            assert f"](plots/{name}_{picture}.png)" in (whole / "report.md").read_text()


ONE = (
    f"--config={ROOT / 'configs/data_free.py'}:method=dafl",
    *(x for x in SMALL[1:] if "methods" not in x and "references" not in x),
    "--config.method.latent=4", "--config.student_steps_per_epoch=4", "--config.evaluate_epochs=1", "--config.save_epochs=1",
)  # fmt: skip


def test_a_teacher_file_is_judged_and_no_training_image_is_read(whole, tmp_path):
    said = launched(tmp_path / "run", *ONE, f"--config.teacher={whole / 'export/teacher/seed0.safetensors'}")
    assert "teacher: kdjax weights, sha256 " in said and "test accuracy" in said
    results = read(tmp_path / "run", "summary.json")["results"]
    assert results["teacher/test_accuracy"] == read(whole, "summary.json")["results"]["teacher/test_accuracy"]
    assert read(tmp_path / "run", "config.json")["data"]["train"] == "none"


def test_the_record_says_which_stages_read_training_images(whole):
    assert read(whole, "config.json")["data"]["train"] == ["teacher"]


def test_two_teachers_answer_as_one_whose_statistics_are_those_of_both(tmp_path):
    launched(tmp_path / "run", *ONE, "--config.teachers=2", "--config.student_training.epochs=1", "--config.method.student_steps=1")
    (last,) = [x for x in lines(tmp_path / "run") if x["stage"] == "student"]
    assert last["test_batch_norm_distance"][0] > 0 and read(tmp_path / "run", "config.json")["data"]["train"] == ["teacher"]
