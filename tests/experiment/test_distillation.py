"""The experiment of a teacher and its students."""

import jax
import numpy as np
import pytest
from contexts import ROWS, shared, stages_of, teaching, weights_of

from configs import offline, quickstart
from kdjax import models
from kdjax.core import InputError
from kdjax.data import array_source
from kdjax.experiment import distillation
from kdjax.experiment.entry import method_section

TEACHER = models.conv_net((3, 4), 4)


def test_students_alone_have_their_rate_chosen():
    config = quickstart.get_config()
    config.baseline_rates = (0.1, 0.2)
    stages = distillation.students_alone(config, shared())
    assert list(stages) == ["student_alone", "student_smoothed"] and stages["student_alone"].choose is True
    config.smoothing, config.baseline_rates = 0.0, ()
    stages = distillation.students_alone(config, shared())
    assert list(stages) == ["student_alone"] and stages["student_alone"].hyper is None


def test_few_labels_are_those_of_a_source_of_their_own():
    config, dataset = shared()["config"], shared()["dataset"]
    config.labels_per_class = 0
    assert distillation.student_sources(config, dataset) == (ROWS, ROWS)
    config.labels_per_class = 2
    labels = np.arange(30) % 2
    few, all_of = distillation.student_sources(
        config, dataset._replace(train=array_source(ROWS.read(np.arange(30))["image"], labels))
    )
    assert few.size == 4 and all_of.size == 30 and (all_of.labels() >= 0).sum() == 4
    config.labels_per_class = 40
    with pytest.raises(InputError, match=r"labels_per_class=40 is not accepted: .*; 0 keeps all labels"):
        distillation.student_sources(config, dataset._replace(train=few))


def test_a_sum_and_separate_teachers_are_one_stage():
    assert list(stages_of("crd+kd", TEACHER)) == ["student"]
    both = models.ensemble([TEACHER, TEACHER])
    assert stages_of("at", both, separate=(0.5, 0.5))["student"].method.needs == ("teacher",)
    with pytest.raises(InputError, match="method 'mlkd' cannot be a part of a sum, nor a loss for each teacher"):
        stages_of("mlkd", both, separate=(0.5, 0.5))
    with pytest.raises(InputError, match="expected ensemble with deit, which is more than an objective"):
        stages_of("deit", both, separate=(0.5, 0.5))


@pytest.mark.parametrize(
    ("method", "networks", "shipped"),
    [("sokd", ["bridge", "student", "teacher"], ["student"]), ("ackd", ["group", "student", "teacher"], ["student"]),
     ("learning_styles", ["adapter", "peer0", "peer1", "teacher"], ["peer0", "peer1"])],
)  # fmt: skip
def test_methods_of_more_networks_than_a_student(method, networks, shipped):
    net = {"name": "conv_net", "widths": [3, 4], "classes": 4}
    taught = teaching(TEACHER)._replace(specification=net)
    section = method_section(method, offline.METHODS)
    stage = distillation.student_stages("student", section, offline.METHODS, taught, shared())["student"]
    batch = {"image": np.zeros((4, 8, 8, 1), np.float32), "label": np.arange(4), "index": np.arange(4)}
    state = jax.eval_shape(stage.method.init, jax.random.key(0), batch, {"teacher": weights_of(TEACHER)})
    assert sorted(stage.method.weights(state)) == networks and list(stage.nets) == shipped
    jax.eval_shape(stage.method.step, state, batch, jax.random.key(1))


def test_ackd_has_so_many_learners():
    taught = teaching(TEACHER)
    section = method_section("ackd", offline.METHODS, learners=0)
    stage = distillation.student_stages("student", section, offline.METHODS, taught, shared())["student"]
    batch = {"image": np.zeros((4, 8, 8, 1), np.float32), "label": np.arange(4), "index": np.arange(4)}
    state = jax.eval_shape(stage.method.init, jax.random.key(0), batch, {"teacher": weights_of(TEACHER)})
    assert "group" not in stage.method.weights(state)
