"""The step that results are taken at, by the score of a stage and its direction."""

import numpy as np
import pytest
from tiny import after, assert_same, run, stage

from kdjax.core import InputError
from kdjax.evaluate import Measure
from kdjax.train import Stopped, run_stages


def scored(values):
    """An evaluation that returns the next of the values on `val`; later ones and those on `test` are not looked at."""
    left = iter(values)
    return lambda collect, split, final: {"accuracy": np.array([99.0]) if final else np.array([next(left, 99.0)])}


def test_best_takes_the_checkpoint_with_the_best_validation_accuracy(tmp_path):
    best = stage(steps=14, evaluate=scored([10.0, 30.0, 20.0, 30.0 - 1]))
    result = run_stages({"only": best}, run(tmp_path / "best", select="best"))["only"]
    assert result.step == 8
    until = run_stages({"only": stage(steps=8)}, run(tmp_path / "until"))["only"]
    assert_same(result.weights, until.weights)
    last = run_stages({"only": stage(steps=14, evaluate=scored([1.0, 9.0, 2.0, 3.0]))}, run(tmp_path / "last"))["only"]
    assert last.step == 14


def test_best_survives_a_stop_between_evaluations(tmp_path):
    values = [50.0, 40.0, 30.0]
    with pytest.raises(Stopped):
        run_stages({"only": stage(evaluate=scored(values[:1]))}, run(tmp_path, select="best", stop=after(3)))
    result = run_stages({"only": stage(evaluate=scored(values[1:]))}, run(tmp_path, select="best"))["only"]
    assert result.step == 4


def distance(values):
    """Fields of a stage whose score is a measure of its own of which less is better."""
    measure = scored(values)
    evaluate = lambda *args: {"distance": measure(*args)["accuracy"]}  # noqa: E731
    return {"evaluate": evaluate, "score": "distance", "measures": (Measure("distance", "", "lower"),)}


def test_best_follows_the_score_and_its_direction(tmp_path):
    one = stage(steps=16, **distance([20.0, 10.0, 30.0, 15.0]))
    assert run_stages({"only": one}, run(tmp_path, select="best"))["only"].step == 8


def test_the_test_curve_follows_the_score_and_its_direction(tmp_path):
    one = stage(**distance([20.0, 1.0, 10.0, 2.0, 30.0, 3.0]))  # on validation and test images in turn
    found = run_stages({"only": one}, run(tmp_path, test_curve=True))["only"]
    assert found.measures["test_at_best_val_distance"] == [2.0]


def test_a_measure_without_a_direction_is_refused(tmp_path):
    with pytest.raises(InputError, match="stage 'only': better='less' of distance is not accepted: expected 'higher' or 'lower'"):
        run_stages({"only": stage(measures=(Measure("distance", "", "less"),))}, run(tmp_path))


def test_best_needs_its_score(tmp_path):
    one = stage(evaluate=lambda collect, split, final: {"knn": np.array([1.0])})
    with pytest.raises(InputError, match="stage 'only' measures knn, no accuracy"):
        run_stages({"only": one}, run(tmp_path, select="best"))
