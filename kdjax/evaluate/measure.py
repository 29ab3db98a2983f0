"""The table of measures: the unit of every result, which way it is better, and how many digits of it are shown."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class Measure(NamedTuple):
    """What the values of a result are.

    Attributes:
      name: the end of the results' names: `"accuracy"` is that of `test_accuracy` and `val_student2_accuracy`.
      unit: `"%"`, `"nats"`, ...; empty for none.
      better: `"higher"` or `"lower"`.
      digits: behind the point, in tables.

    >>> MEASURES["accuracy"].shown(98.404), MEASURES["nll"].shown(0.1)
    ('98.40 %', '0.100 nats')
    """

    name: str
    unit: str = ""
    better: str = "higher"
    digits: int = 3

    @property
    def sign(self) -> int:
        """1 or -1: of two values times the sign, the larger one is better."""
        return -1 if self.better == "lower" else 1

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.{self.digits}f} {self.unit}".rstrip()


class Alarm(NamedTuple):
    """When a measure says that something is wrong while a network is trained.

    Attributes:
      measure: its name, without a split.
      least: values below it give an alarm.
      meaning: what that says of the network, in words.
      stops_after: an alarm in all members ends the stage, at an evaluation behind this step and before the last one, and before
        this step there is none. None: it never does.
    """

    measure: str
    least: float
    meaning: str
    stops_after: int | None = None


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("accuracy", "%", "higher", 2),
        Measure("top5_accuracy", "%", "higher", 2),
        Measure("ensemble_accuracy", "%", "higher", 2),
        Measure("probe_accuracy", "%", "higher", 2),
        Measure("knn_accuracy", "%", "higher", 2),
        Measure("online_probe_accuracy", "%", "higher", 2),
        Measure("pixels_probe_accuracy", "%", "higher", 2),
        Measure("half_interval", "points", "lower", 2),
        Measure("agreement", "%", "higher", 2),
        Measure("disagreement", "%", "higher", 2),
        Measure("ece", "%", "lower", 2),
        Measure("nll", "nats", "lower", 3),
        Measure("brier", "0 to 2", "lower", 3),
        Measure("loss", "", "lower", 3),
        Measure("megabytes", "MB", "lower", 3),
        Measure("perplexity", "", "lower", 2),
        Measure("rank_me", "dimensions", "higher", 3),
        Measure("feature_spread", "", "higher", 3),
        Measure("uniformity", "", "lower", 3),
        Measure("alignment", "", "lower", 3),
        Measure("embedding_spread", "", "higher", 3),
        Measure("mean_iou", "%", "higher", 2),
        Measure("average_precision", "%", "higher", 2),
        Measure("fid", "", "lower", 2),
        Measure("kid", "", "lower", 4),
        Measure("precision", "%", "higher", 2),
        Measure("recall", "%", "higher", 2),
        Measure("density", "", "higher", 3),
        Measure("coverage", "%", "higher", 2),
        Measure("relative_accuracy", "%", "higher", 2),
        Measure("synthetic_agreement", "%", "higher", 2),
        Measure("class_entropy", "nats", "higher", 3),
        Measure("duplicates", "%", "lower", 2),
        Measure("diversity", "", "higher", 3),
        Measure("nearest_real", "", "higher", 3),
        Measure("batch_norm_distance", "", "lower", 3),
        Measure("forgetting", "nats", "lower", 4),
        Measure("leep", "nats", "higher", 3),
        Measure("log_me", "nats", "higher", 3),
        Measure("h_score", "", "higher", 3),
        Measure("pge_distance", "", "lower", 3),
    )
}


def measure_of(result: str, known: Mapping[str, Measure] = MEASURES) -> Measure:
    """The Measure of a result: of those whose name ends the result's, the one with the longest name.

    Args:
      result: such as `"test_accuracy"`, `"val_student2_accuracy"`, `"test_mean_iou"`.
      known: Measures by name.

    Returns:
      The Measure; for a result that none fits, one without a unit of which more is better.

    >>> measure_of("test_student2_accuracy").name, measure_of("val_gap")
    ('accuracy', Measure(name='val_gap', unit='', better='higher', digits=3))
    """
    fits = [measure for name, measure in known.items() if f"_{result}".endswith(f"_{name}")]
    return max(fits, key=lambda measure: len(measure.name), default=Measure(result))


def same_kind(result: str, score: str) -> bool:
    """Whether a result is of the kind of a score, as the last word of their names tells: a kNN accuracy is an accuracy.

    >>> same_kind("test_knn_accuracy", "accuracy"), same_kind("val_nll", "accuracy"), same_kind("loss", "distance")
    (True, False, False)
    """
    return result.rpartition("_")[2] == score.rpartition("_")[2]


def all_of(*measures: Callable) -> Callable:
    """Makes one `evaluate` of a stage of several: `(collect, split, final) -> {measure: [members]}` with what each of them gives.

    >>> both = all_of(lambda *seen: {"accuracy": np.ones(2)}, lambda *seen: {"ece": np.zeros(2)})
    >>> list(both(None, "test", True))
    ['accuracy', 'ece']
    """

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        return {name: value for one in measures for name, value in one(collect, split, final).items()}

    return measure
