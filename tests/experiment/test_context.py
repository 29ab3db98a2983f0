"""What an entry makes its stages from."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from contexts import ROWS, STUDENT, context, shared, weights_of

from kdjax import methods, models
from kdjax.core import InputError
from kdjax.experiment.context import axis_name, make_stage, stages_of
from kdjax.experiment.entry import Entry
from kdjax.experiment.student import beside_teacher
from kdjax.train.program import trace

TEACHER = models.conv_net((3, 4), 4)


def test_options_are_those_of_the_config_and_those_that_the_experiment_knows():
    c = context(TEACHER, Entry(methods.crd), {"temperature": 0.1})
    assert c.options.keys() == {"temperature", "labels", "numbers", "axis_name", "micro"} and c.options["micro"] == 1
    assert context(TEACHER, Entry(methods.proc_kd)).options["steps"] == 45 == c.steps


def test_a_point_of_a_sweep_stands_in_the_place_of_the_options():
    asked = []

    def make(c):
        asked.append((c.settings, c.training["optimiser"]["learning_rate"]))
        return beside_teacher(c)

    c = context(TEACHER, Entry(methods.kd, make), {"temperature": 4.0, "weight": 0.5})
    stage = make_stage(
        c, None, grid={"temperature": (1.0, 2.0), "learning_rate": (0.1,)}, batch=2, nets={}, source=ROWS,
        evaluate=lambda *_: {},
        score="accuracy",
    )  # fmt: skip
    assert [x["temperature"] for x, _ in asked] == [1.0, 2.0] and [rate for _, rate in asked] == [0.1, 0.1]
    assert all(x["weight"] == 0.5 for x, _ in asked) and stage.members == 2 and stage.choose
    asked.clear()
    rates = make_stage(c, None, grid={"learning_rate": (0.1, 0.3)}, batch=2, nets={}, source=ROWS, evaluate=None, score="accuracy")
    assert [rate for _, rate in asked] == [0.1] and rates.members == 2  # of rates alone one method is built


@pytest.mark.parametrize("grid", [None, {"temperature": (1.0, 2.0)}])
def test_a_stage_for_a_mapped_axis_has_the_method_for_none_beside_it(grid):
    fields = {"batch": 2, "nets": {}, "source": ROWS, "evaluate": lambda *_: {}, "score": "accuracy", "grid": grid}
    c = context(TEACHER, Entry(methods.kd, beside_teacher), {"temperature": 4.0})
    alone, mapped = (make_stage(x, None, **fields) for x in (c, replace(c, axis_name="data")))
    assert alone.unmapped is None and mapped.unmapped is not None
    given, batch = {"teacher": weights_of(TEACHER)}, {"label": np.zeros(2, np.int32), **ROWS.read(np.arange(2))}

    def program(method):
        state = jax.eval_shape(lambda: method.init(jax.random.key(0), batch, given))
        return trace(method.step, state, batch, jax.random.key(0))

    assert program(mapped.unmapped) == program(alone.method)
    with pytest.raises(NameError, match="data"):
        program(mapped.method)


def test_taps_are_shapes_of_one_image():
    taps = context(TEACHER).taps(context(TEACHER).build(STUDENT))
    assert taps["logits"].shape == (1, 4)


def test_the_axis_is_that_of_the_devices():
    config = shared()["config"]
    assert axis_name(config) is None
    config.parallel = "pmap"
    assert axis_name(config) == "data"


def test_stages_take_their_own_options_and_leave_the_others():
    def stages(c, *, factor=2):
        return {"seen": (c.settings, factor)}

    assert stages_of(context(TEACHER, Entry(methods.kd, stages=stages), {"weight": 0.5, "factor": 3})) == {
        "seen": ({"weight": 0.5}, 3)
    }
    assert list(stages_of(context(TEACHER, Entry(methods.kd, beside_teacher)))) == ["student"]


def test_averages_and_norms_of_any_method_on_request():
    fields = {"batch": 2, "nets": {}, "source": ROWS, "evaluate": lambda *_: {}, "score": "accuracy"}
    c = context(TEACHER, Entry(methods.kd, beside_teacher), {"temperature": 4.0})
    optimiser = {**c.training["optimiser"], "norms": True}
    asked = replace(c, training={**c.training, "average": 0.9, "optimiser": optimiser})
    given, batch = {"teacher": weights_of(TEACHER)}, {"label": np.zeros(2, np.int32), **ROWS.read(np.arange(2))}

    def made(c, **more):
        stage = make_stage(c, None, **fields, **more)
        state = jax.eval_shape(lambda: stage.method.init(jax.random.key(0), batch, given))
        _, metrics = jax.eval_shape(stage.method.step, state, batch, jax.random.key(0))
        return stage, state, set(stage.method.weights(state)), set(metrics)

    (_, _, plain, logged), (stage, state, averaged, more) = made(c), made(asked, warm_start=lambda state, result, member: state)
    assert averaged - plain == {"online_student"} and more - logged == {"gradient_norm", "update_norm"}
    assert jax.tree.structure(jax.eval_shape(lambda x: stage.warm_start(x, None, 0), state)) == jax.tree.structure(state)
    with pytest.raises(InputError, match=r"average=0\.9 is not accepted: stage 'student' reads the State .* \(refresh\)"):
        make_stage(asked, None, **fields, refresh=lambda collect, state, step, key: state)
