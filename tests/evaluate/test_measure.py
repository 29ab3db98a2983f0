"""The table of measures, and how a result finds its Measure."""

import pytest

from kdjax.evaluate import MEASURES, Measure, measure_of, same_kind
from kdjax.evaluate.measure import all_of


@pytest.mark.parametrize(
    "result, name",
    [
        ("test_accuracy", "accuracy"),
        ("test_student2_accuracy", "accuracy"),
        ("test_at_best_val_accuracy", "accuracy"),
        ("val_online_probe_accuracy", "online_probe_accuracy"),
        ("test_probe_1_percent_accuracy", "accuracy"),
        ("test_few_shot_half_interval", "half_interval"),
        ("val_mean_iou", "mean_iou"),
        ("test_mean_iou", "mean_iou"),
        ("test_fid", "fid"),
        ("precision", "precision"),
        ("test_average_precision", "average_precision"),
        ("test_relative_accuracy", "relative_accuracy"),
        ("loss", "loss"),
    ],
)
def test_a_result_finds_its_measure(result, name):
    assert measure_of(result) is MEASURES[name]


def test_a_name_is_found_by_whole_words():
    assert measure_of("test_piece") == Measure("test_piece", "", "higher", 3)  # which is no calibration error


def test_an_own_measure_takes_the_place_of_one_of_the_table():
    own = Measure("accuracy", "", "lower", 1)
    assert measure_of("test_accuracy", {**MEASURES, own.name: own}) is own


def test_of_which_measures_less_is_better():
    assert {name for name, measure in MEASURES.items() if measure.sign < 0} == {
        "ece",
        "nll",
        "brier",
        "loss",
        "perplexity",
        "fid",
        "kid",
        "half_interval",
        "uniformity",
        "alignment",
        "pge_distance",
        "duplicates",
        "batch_norm_distance",
        "forgetting",
        "megabytes",
    }
    assert {measure.better for measure in MEASURES.values()} == {"higher", "lower"}


def test_results_alike_end_with_one_word():
    assert same_kind("test_top5_accuracy", "accuracy") and same_kind("val_accuracy", "probe_accuracy")
    assert not same_kind("test_accuracy", "agreement")


def test_all_measures_are_asked_the_same():
    asked = []

    def measure(name):
        return lambda *seen: asked.append(seen) or {name: len(asked)}

    assert all_of(measure("a"), measure("b"))("collect", "val", False) == {"a": 1, "b": 2}
    assert asked == [("collect", "val", False)] * 2 and all_of()("collect", "test", True) == {}
