"""What an entry makes its stages from."""

from contexts import ROWS, STUDENT, context, shared

from kdjax import methods, models
from kdjax.experiment.context import axis_name, make_stage, stages_of
from kdjax.experiment.entry import Entry
from kdjax.experiment.student import beside_teacher

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
        c, None, grid={"temperature": (1.0, 2.0), "learning_rate": (0.1,)}, batch=2, recipe={}, nets={}, source=ROWS,
        evaluate=lambda *_: {},
        score="accuracy",
    )  # fmt: skip
    assert [x["temperature"] for x, _ in asked] == [4.0, 1.0, 2.0] and [rate for _, rate in asked] == [0.2, 0.1, 0.1]
    assert all(x["weight"] == 0.5 for x, _ in asked) and stage.members == 2 and stage.choose


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
