"""What the measures of runs are, and which of them is a network's score, as their summaries tell."""

from collections.abc import Iterable, Mapping
from typing import Any

from kdjax.evaluate import MEASURES, Measure, measure_of, same_kind

AT_BEST = "test_at_best_val_"


def told(known: Mapping[str, Measure], results: Iterable[str]) -> dict[str, dict]:
    """What summary.json holds of the Measures that results `stage/measure` have.

    Args:
      known: Measures by name.
      results: their names.
    """
    found = dict.fromkeys(measure_of(name.partition("/")[2], known) for name in results)
    return {x.name: {"unit": x.unit, "better": x.better, "digits": x.digits} for x in found if x.name in known}


def known_measures(*summaries: Mapping[str, Any]) -> dict[str, Measure]:
    """The table of measures with what summaries tell of their own ones."""
    own = (item for summary in summaries for item in summary.get("measures", {}).items())
    return {**MEASURES, **{name: Measure(name, **fields) for name, fields in own}}


def are_measures(found: Any) -> bool:
    """Whether a value of summary.json is what `told` makes."""
    kinds = {"unit": str, "better": str, "digits": int}
    return isinstance(found, dict) and all(
        isinstance(one, dict) and set(one) == set(kinds) and all(isinstance(one[k], kind) for k, kind in kinds.items())
        for one in found.values()
    )


def score_of(summary: Mapping[str, Any], stage: str) -> str:
    """The measure by which a network is judged: the one its summary names, or else the first of the table that it has."""
    if name := summary.get("scores", {}).get(stage):
        return name
    own = [measure for of, _, measure in (key.partition("/") for key in summary.get("results", ())) if of == stage]
    return next((name for name in MEASURES if f"test_{name}" in own), own[0].removeprefix("test_") if own else "")


def label(measure: str, known: Mapping[str, Measure] = MEASURES) -> str:
    """A measure in words, with the sign of percent.

    >>> label("test_top5_accuracy"), label("test_nll")
    ('test top5 accuracy %', 'test nll')
    """
    return measure.replace("_", " ") + " %" * (measure_of(measure, known).unit == "%")


def words(measure: str) -> str:
    """A measure in words, without its split.

    >>> words("val_knn_accuracy")
    'knn accuracy'
    """
    return measure.removeprefix("val_").removeprefix("test_").replace("_", " ")


def best_step(scores: Iterable[str]) -> str:
    """How a step is chosen by the scores of networks, in words.

    >>> best_step(["accuracy", "accuracy"])
    'best validation accuracy, mean over seeds'
    """
    return f"best validation {' or '.join(dict.fromkeys(map(words, scores))) or 'score'}, mean over seeds"


def curve_of(score: str, names: Iterable[str]) -> str:
    """Of the columns of a curve the one that shows a score: on validation images if there, or one that is alike; empty for none.

    >>> curve_of("accuracy", ["loss", "test_accuracy", "val_accuracy"]), curve_of("probe_accuracy", ["loss", "test_knn_accuracy"])
    ('val_accuracy', 'test_knn_accuracy')
    """
    measured = [name for name in names if name.startswith(("val_", "test_"))]
    wanted = [f"val_{score}", f"test_{score}", *(name for name in measured if same_kind(name, score))]
    return next((name for name in wanted if name in measured), "")
