"""Many methods in one run, sums of methods, and options chosen by validation images."""

import json

import numpy as np
import pytest
from launching import BENCHMARK, TINY

from launch.run import cli

METHODS = "--config=configs/benchmark.py:methods=kd/at/crd+kd"
SMALL = (
    *BENCHMARK,
    "--config.student_training.epochs=2",
    "--config.student_training.optimiser.learning_rate=0.01",
    "--config.methods.crd+kd.crd.negatives=8",
)


@pytest.fixture(scope="module")
def table(launch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table") / "run"
    answer = launch(METHODS, f"--workdir={folder}", *SMALL)
    assert answer.code == 0, answer.err
    return folder, json.loads((folder / "summary.json").read_text()), answer


def test_every_method_is_compared_with_the_student_alone_and_with_kd(table):
    _, summary, _ = table
    told = [(c["result"].split("/")[0], c["baseline"].split("/")[0]) for c in summary["comparisons"]]
    assert sorted(told) == [
        ("at", "kd"),
        ("at", "student_alone"),
        ("crd+kd", "kd"),
        ("crd+kd", "student_alone"),
        ("kd", "student_alone"),
    ]
    assert summary["protocol"]["train_images"] == 200 and summary["method"] == "benchmark"


def test_the_report_of_a_run_has_a_column_for_each_baseline(table):
    folder, summary, _ = table
    text = (folder / "report.md").read_text()
    head, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in head.strip("|").split("|")]
    assert {"difference to student_alone, test accuracy %", "difference to kd, test accuracy %"} <= set(names)
    cells = {
        row.split("|")[1].strip(): dict(zip(names, (c.strip() for c in row.strip("|").split("|")), strict=True)) for row in rows
    }
    assert set(cells) == {"teacher", "student_alone", "kd", "at", "crd+kd"}
    gap = next(c for c in summary["comparisons"] if (c["result"], c["baseline"]) == ("at/test_accuracy", "kd/test_accuracy"))
    assert cells["at"]["difference to kd, test accuracy %"].startswith(f"{gap['mean']:+.2f}")
    assert cells["kd"]["difference to kd, test accuracy %"] == ""
    assert "kd and crd+kd" in text or "2 epochs" in text
    assert "plots/scores.png" in text and (folder / "plots/scores.png").is_file()


def test_the_accuracy_at_the_best_validation_epoch_is_that_of_the_curve(table):
    folder, summary, _ = table
    lines = [x for x in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if x["stage"] == "at"]
    val, test = (np.array([x[f"{split}_accuracy"] for x in lines]) for split in ("val", "test"))
    assert len(lines) == 2 and val.shape == (2, 2)
    wanted = [test[np.flatnonzero(v == v.max())[-1], i] for i, v in enumerate(val.T)]
    assert summary["results"]["at/test_at_best_val_accuracy"]["values"] == pytest.approx(wanted)
    assert summary["results"]["at/test_accuracy"]["values"] == pytest.approx(test[-1])


def test_a_method_that_diverges_is_left_out_of_the_table(launch, tmp_path):
    folder = tmp_path / "run"
    words = ("--config=configs/benchmark.py:methods=kd/at", f"--workdir={folder}", *SMALL[:-1], "--config.methods.kd.weight=1e38")
    answer = launch(*words)
    assert answer.code == 1 and answer.err.count("\n") == 1 and "report.md is without kd: what diverged" in answer.err
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["left_out"] == ["kd"] and {"at/test_accuracy", "student_alone/test_accuracy"} <= set(summary["results"])
    assert [(c["result"], c["baseline"]) for c in summary["comparisons"]] == [("at/test_accuracy", "student_alone/test_accuracy")]
    assert "left out, as they diverged or were built on what did: kd" in (folder / "report.md").read_text()
    assert (folder / "export/at/README.md").is_file() and not (folder / "export/kd").exists()
    again = launch(*words)
    assert again.code == 0 and "left out, as they diverged or were built on what did: kd" in again.out


def test_a_sum_shows_the_options_of_its_parts_and_weighs_kd_by_one():
    _, config = cli.read_config("configs/quickstart.py:method=crd+kd", [])
    assert config.method.label_weight == config.method.kd.weight == 1.0 and config.method.crd.weight == 0.8
    assert "labels" not in config.method.crd
    assert cli.read_config("configs/quickstart.py:method=kd", [])[1].method.weight == 0.9


def test_options_of_a_method_are_chosen_by_validation_images(launch, tmp_path):
    words = ("--config.sweep=temperature=1,4 learning_rate=0.2,0.00001", "--config.student_training.epochs=2")
    answer = launch(f"--workdir={tmp_path / 'run'}", *TINY, *words)
    assert answer.code == 0, answer.err
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    points = summary["points"]["student"]
    assert {(p["temperature"], round(p["learning_rate"], 5)) for p in points} == {(1, 0.2), (4, 0.2), (1, 1e-5), (4, 1e-5)}
    assert points[0]["val_accuracy"] == max(p["val_accuracy"] for p in points)
    assert len(summary["results"]["student/test_accuracy"]["values"]) == 2


def test_a_method_of_two_stages_chooses_its_rate_too(launch, tmp_path):
    words = ("--config.sweep=learning_rate=0.2,0.00001", "--config.student_training.epochs=1", "--config.method.first.epochs=1")
    answer = launch("--config=configs/quickstart.py:method=ab", f"--workdir={tmp_path / 'run'}", *TINY, *words)
    assert answer.code == 0, answer.err
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert len(summary["points"]["student"]) == 2 and len(summary["results"]["student/test_accuracy"]["values"]) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--config.sweep=temperatur=1,2", "--config.sweep='temperatur=1,2' is not accepted at 'temperatur=1,2'"),
        ("--config.sweep=temperature=hot", "expected '<name>=<number>,<number> ...' with names among learning_rate, "),
        ("--config.sweep=temperature=1 --config.data.val_fraction=0", "choose among the points of --config.sweep"),
        ("--config=configs/quickstart.py:method=crd+crd", "method='crd+crd' is not accepted: expected each part of a sum once"),
        ("--config=configs/quickstart.py:method=crd+fitnet_two_stage", "method 'fitnet_two_stage' cannot be a part of a sum"),
        ("--config=configs/benchmark.py:methods=kd/kd", "expected every method once"),
        ("--config=configs/benchmark.py:methods=kd/kdd", "method 'kdd' is not known"),
        ("--config.data.train_images=15", "--config.data.train_images=15 is not accepted: expected a multiple of 10"),
        ("--config.data.train_images=99990", "--config.data.train_images=99990 is not accepted: per_class=9999"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(launch, tmp_path, words, told):
    words = [w if k == 0 else f"--config{w}" for k, w in enumerate(words.split(" --config"))]
    tiny = () if "benchmark" in words[0] else TINY
    answer = launch(*words, f"--workdir={tmp_path / 'run'}", *tiny)
    assert answer.code == 2 and told in answer.err and answer.err.count("\n") == 1, answer.err
    assert not (tmp_path / "run").exists()
