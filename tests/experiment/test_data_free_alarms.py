"""When a student without data is said to be lost, and when its training stops."""

import numpy as np
import pytest

from configs import data_free
from kdjax.data import load
from kdjax.experiment.data_free_alarms import data_free_alarms
from kdjax.train.alarms import fatal, raised

DIGITS = load("digits")  # 10 classes, 450 test images of 64 numbers
HONEST = {"class_entropy": [2.0], "diversity": [1.0], "accuracy": [50.0]}


def alarms(begin=0, steps=100, **changed):
    stop = data_free.get_config().stop
    stop.update(changed)
    return data_free_alarms(stop, DIGITS, begin=begin, steps=steps)


@pytest.mark.parametrize(
    ("measure", "least"),
    [
        ("class_entropy", 0.05 * np.log(10)),
        ("diversity", 0.01 * 8),  # two images that differ by 0.01 in each of 64 numbers
        ("accuracy", 100 * (0.1 + 2 * np.sqrt(0.1 * 0.9 / 450))),
    ],
)
def test_each_measure_has_its_least_and_can_be_turned_off(measure, least):
    low, fine = ({**HONEST, measure: [least * factor]} for factor in (0.999, 1.001))
    assert fatal(alarms(), low, 51).startswith(f"{measure} is ") and not fatal(alarms(), fine, 51)
    assert f"--config.stop.{measure}=0" in fatal(alarms(), low, 51)
    assert not fatal(alarms(**{measure: 0.0}), low, 51)
    assert not fatal(alarms(), low, 50)  # half of the run


def test_the_steps_in_which_the_student_does_not_learn_do_not_count():
    guess = {**HONEST, "accuracy": [10.0]}
    assert not fatal(alarms(begin=60), guess, 80) and fatal(alarms(begin=60), guess, 81)
    assert not fatal(alarms(after=0.9), guess, 90) and fatal(alarms(after=0.9), guess, 91)
    assert fatal(alarms(after=0.0), guess, 1)


def test_few_classes_are_told_at_any_step_and_stop_nothing():
    few = {**HONEST, "class_entropy": [1.1]}
    assert "the images made are of few classes" in raised(alarms(), few, 1)["class_entropy"] and not fatal(alarms(), few, 99)
    assert not raised(alarms(), {**HONEST, "class_entropy": [1.2]}, 1)


def test_a_round_s_stage_counts_from_the_end_of_its_warm_up():
    config = data_free.get_config("method=fast_dfkd", warm_up=2, synthesis_steps=5, student_steps=7)
    config.student_training.epochs, config.generator.features = 6, 4
    config.student_training.net.widths = config.teacher_training.net.widths = (4,)
    stage = data_free.build(config).stages["student"]
    assert stage.steps == 2 * 5 + 4 * 12
    assert {alarm.stops_after for alarm in stage.alarms} == {None, 2 * 5 + 24}
