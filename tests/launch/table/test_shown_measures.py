"""Measures in words, and read back from the summaries of runs."""

import pytest
from fabricated import write_run

from kdjax.core import InputError
from kdjax.evaluate import MEASURES, Measure
from launch.table import runs, summary
from launch.table.measures import best_step, curve_of, known_measures, label, score_of, told, words
from launch.table.task import task_of

OWN = {**MEASURES, "gap": Measure("gap", "%", "lower", 1)}
TOLD = {"gap": {"unit": "%", "better": "lower", "digits": 1}}


def test_a_measure_in_words():
    assert (label("test_top5_accuracy"), label("test_nll"), label("val_gap")) == ("test top5 accuracy %", "test nll", "val gap")
    assert label("val_gap", OWN) == "val gap %" and words("val_knn_accuracy") == "knn accuracy"
    assert best_step(["accuracy", "mean_iou", "accuracy"]) == "best validation accuracy or mean iou, mean over seeds"


def test_own_measures_come_back_from_a_summary():
    found = told(OWN, ["student/test_gap", "student/val_gap", "student/test_nll", "student/test_unknown"])
    assert set(found) == {"gap", "nll"} and found["gap"] == TOLD["gap"]
    assert known_measures({"measures": found}) == OWN


@pytest.mark.parametrize(
    ("score", "names", "shown"),
    [
        ("accuracy", ["loss", "test_accuracy", "val_accuracy"], "val_accuracy"),
        ("accuracy", ["val_top5_accuracy", "val_accuracy"], "val_accuracy"),
        ("probe_accuracy", ["test_rank_me", "test_knn_accuracy"], "test_knn_accuracy"),
        ("gap", ["gap", "val_nll"], ""),
    ],
)
def test_the_curve_that_shows_a_score(score, names, shown):
    assert curve_of(score, names) == shown


def test_a_summary_without_scores_has_the_first_of_the_table():
    results = {"a/test_nll": 0, "a/test_probe_accuracy": 0, "a/test_knn_accuracy": 0, "b/test_gap": 0}
    assert [score_of({"results": results}, stage) for stage in "ab"] == ["probe_accuracy", "gap"]
    assert score_of({"results": results, "scores": {"a": "nll"}}, "a") == "nll"


@pytest.mark.parametrize("damage", [{"scores": []}, {"measures": {"gap": {"unit": "%"}}}, {"measures": {"gap": 3}}])
def test_a_damaged_summary_is_one_line(damage, tmp_path):
    folder = write_run(tmp_path / "run", summary=damage)
    for read in (runs.read, summary.read):
        with pytest.raises(InputError, match=r"summary\.json is damaged"):
            read(folder)


def test_what_networks_are_for():
    found = [
        task_of(x) for x in ({"name": "resnet8", "classes": 3}, {"name": "resnet8", "classes": 0}, {"name": "fcn", "classes": 3})
    ]
    assert found == ["image-classification", "image-feature-extraction", "image-segmentation"]
