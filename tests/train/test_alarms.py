"""A measure that is too low is told once on the screen, and at every evaluation in the records; the run goes on."""

import json

import numpy as np
import pytest
from tiny import metrics, resumed, run, stage

from kdjax.evaluate import Alarm
from kdjax.train import Diverged, run_stages
from kdjax.train.alarms import raised

ALARM = Alarm("spread", 2.0, "all is alike")


def test_a_line_names_measure_value_members_and_meaning():
    assert raised([ALARM], {"spread": np.array([1.23456])}, 8) == {"spread": "spread is 1.23 at step 8, below 2: all is alike"}
    found = raised([ALARM, Alarm("rank", 1.0, "x")], {"spread": [0.5, 2.0, -1.0], "rank": [1.0], "other": [-9.0]}, 8)
    assert found == {"spread": "spread is -1 at step 8, below 2 in 2 of 3 members: all is alike"}
    assert raised([ALARM], {"spread": [np.nan, 2.0]}, 8) == raised([ALARM], {}, 8) == {}


def falling():
    """A measure that falls from one evaluation to the next: 3, 2, 1, ..."""
    seen = []

    def measure(collect, split, final):
        seen.append(final)
        return {"accuracy": np.zeros(1), "spread": np.array([4.0 - len(seen)])}

    return measure


def test_an_alarm_is_said_once_and_recorded_every_time(tmp_path):
    said = []
    one = stage(evaluate=falling(), alarms=(ALARM,), steps=16)
    result = run_stages({"only": one}, run(tmp_path, said))["only"]
    assert result.step == 16
    assert said == ["only: spread is 1 at step 12, below 2: all is alike; the run goes on"]
    lines = {x["step"]: x.get("alarms") for x in map(json.loads, metrics(tmp_path).splitlines())}
    told = {step: {"spread": f"spread is {value} at step {step}, below 2: all is alike"} for step, value in ((12, 1), (16, 0))}
    assert {step: found for step, found in lines.items() if found} == told


def test_an_alarm_may_be_of_a_metric_of_the_step(tmp_path):
    """By its mean over the block in front of an evaluation."""
    said, loss = [], Alarm("loss", 1e9, "it is no larger than that")
    run_stages({"only": stage(alarms=(loss, Alarm("none", 1.0, "no such metric")))}, run(tmp_path, said))
    last = json.loads(metrics(tmp_path).splitlines()[-1])
    assert len(said) == 1 and "only: loss is " in said[0] and "at step 4, below 1e+09: it is no larger than that" in said[0]
    assert list(last["alarms"]) == ["loss"]


def test_a_resumed_run_does_not_say_it_again(tmp_path):
    said = []
    low = stage(evaluate=lambda *_: {"accuracy": np.zeros(1), "spread": np.zeros(1)}, alarms=(ALARM,))
    resumed(tmp_path / "parts", {"only": low}, [2], said)
    assert len([x for x in said if "all is alike" in x]) == 1
    run_stages({"only": low}, run(tmp_path / "whole"))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


# --- an alarm that ends the stage

LAST = Alarm("spread", 2.0, "all is alike", stops_after=4)
LOST = "only stops: spread is 1 at step 8, below 2: all is alike; the checkpoint of step 4 is kept"


def steady(*values):
    """A measure that is what the State's step says, whoever asks how often: `values` of step 4, 8, 12, ..."""

    def measure(collect, split, final):
        step = int(collect.state(lambda state: state.step)[0])
        return {"accuracy": np.zeros(1), "spread": np.array([values[step // 4 - 1]])}

    return measure


def test_it_ends_a_stage_behind_its_step_and_keeps_the_checkpoint_before(tmp_path):
    said, one = [], stage(evaluate=steady(1.0, 1.0, 9.0, 9.0), alarms=(LAST,), steps=16)
    for _ in range(2):  # the same command again comes to the same end
        with pytest.raises(Diverged) as ended:
            run_stages({"only": one}, run(tmp_path / "a", said))
        assert str(ended.value) == LOST
    assert said == ["only: resumed at step 4 of 16"]
    assert [json.loads(x)["step"] for x in metrics(tmp_path / "a").splitlines()] == [2, 4, 6, 8]
    assert "all is alike" in json.loads(metrics(tmp_path / "a").splitlines()[-1])["alarms"]["spread"]
    # Without the alarm it goes on from there, as if it had never stopped.
    on = one._replace(alarms=())
    gone_on = run_stages({"only": on}, run(tmp_path / "a"))["only"]
    assert gone_on.digest == run_stages({"only": on}, run(tmp_path / "b"))["only"].digest


@pytest.mark.parametrize("values", [(1.0, 2.0, 2.0, 1.0), (np.nan, np.nan, np.nan, np.nan)])
def test_it_ends_nothing_before_its_step_nor_at_the_end_nor_by_what_is_no_number(tmp_path, values):
    result = run_stages({"only": stage(evaluate=steady(*values), alarms=(LAST,), steps=16)}, run(tmp_path))["only"]
    assert result.step == 16


def test_it_ends_nothing_while_one_member_is_not_lost(tmp_path):
    said, both = [], lambda *_: {"accuracy": np.zeros(2), "spread": np.array([1.0, 2.0])}
    assert run_stages({"only": stage(evaluate=both, alarms=(LAST,), members=2)}, run(tmp_path, said))["only"].step == 12
    assert said == ["only: spread is 1 at step 8, below 2 in 1 of 2 members: all is alike; the run goes on"]


def test_a_run_goes_on_without_an_optional_stage_that_ends_so(tmp_path):
    said, one = [], stage(evaluate=steady(1.0, 1.0, 1.0), alarms=(LAST,), optional=True)
    assert list(run_stages({"only": one, "other": stage()}, run(tmp_path, said))) == ["other"]
    assert said == [f"{LOST}; the run goes on without it"]
