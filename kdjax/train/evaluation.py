"""What a stage measures, on the way and at its end."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from kdjax.core import InputError
from kdjax.train import frames
from kdjax.train.alarms import fatal, raised
from kdjax.train.collect import Collect
from kdjax.train.processes import first
from kdjax.train.run import Run
from kdjax.train.stage import Stage, score_of

Splits = Mapping[str, Any]


def selects_best(stage: Stage, run: Run) -> bool:
    """Whether the results of a stage are those of its best step on validation images."""
    return run.select == "best" and not stage.intermediate


def evaluate_on_the_way(
    name: str, stage: Stage, run: Run, splits: Splits, collect: Collect, line: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """An evaluation while a stage is trained: of validation images, or where there are none of test images.

    Args:
      name: of the stage.
      stage: what is trained.
      run: which run; alarms are said once, and images kept.
      splits: those that `collect` knows.
      collect: of the State at this step.
      line: the record of this step, `{"stage", "step", metric: [members], ...}`.

    Returns:
      `(line, lost)`: the record with measures and alarms; the alarm that ends the stage, or nothing.

    Raises:
      InputError: where the run is to choose by a score that the stage does not measure.
    """
    step, score = line["step"], stage.score
    due, validation = step == stage.steps, "val" if "val" in splits else "test"
    measured = stage.evaluate(collect, validation, False)
    for what, wanted in (("select='best'", selects_best(stage, run)), ("a sweep that chooses", stage.choose)):
        if wanted and score not in measured:
            raise InputError(f"{what} is not accepted: stage {name!r} measures {', '.join(measured)}, no {score}")
    line = line | {f"{validation}_{measure}": value for measure, value in measured.items()}
    known = line | measured
    lost = "" if due else fatal(stage.alarms, known, step)
    if found := raised(stage.alarms, known, step):
        told = {measure for earlier in run.records.of(name) for measure in earlier.get("alarms", ())}
        for text in (text for measure, text in found.items() if measure not in told and not lost):
            run.say(f"{name}: {text}; the run goes on")
        line["alarms"] = found
    if stage.frames and frames.is_shown(stage, step):
        made = collect.state(stage.frames, jax.random.key(run.data_seed))[0]
        first(partial(frames.add, frames.folder_of(run, name), step, made))
    if run.test_curve and validation == "val":
        on_test = stage.evaluate(collect, "test", False)
        line |= {f"test_{score}": on_test[score]} if score in on_test else {}
    return line, lost


def evaluate_at_end(stage: Stage, splits: Splits, collect: Collect) -> dict[str, list[float]]:
    """The measures of a finished stage, of test images and, where there are any, of validation images: `[members]` each."""
    measures = _by_split("test", stage.evaluate(collect, "test", True))
    return measures | (_by_split("val", stage.evaluate(collect, "val", False)) if "val" in splits else {})


def at_best(stage: Stage, lines: Sequence[Mapping[str, Any]], members: Sequence[int]) -> dict[str, list[float]]:
    """Each member's score on test images where that on validation images was best; of equals the latest.

    Args:
      stage: whose.
      lines: its records.
      members: which of them.
    """
    val_score, test_score = f"val_{stage.score}", f"test_{stage.score}"
    both = [(x[val_score], x[test_score]) for x in lines if {val_score, test_score} <= set(x)]
    if not both:
        return {}
    val, test = np.array(both, float).swapaxes(0, 1)[..., members]
    last = len(val) - 1 - np.argmax(np.nan_to_num(score_of(stage).sign * val[::-1], nan=-np.inf), axis=0)
    return {f"test_at_best_val_{stage.score}": np.take_along_axis(test, last[None], axis=0)[0].tolist()}


def _by_split(split: str, measures: Mapping[str, Any]) -> dict[str, list[float]]:
    return {f"{split}_{measure}": np.ravel(value).astype(float).tolist() for measure, value in measures.items()}
