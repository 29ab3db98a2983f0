"""The experiment of a teacher and its students."""

import numpy as np
import pytest
from contexts import ROWS, shared, stages_of

from configs import quickstart
from kdjax import models
from kdjax.core import InputError
from kdjax.data import array_source
from kdjax.experiment import distillation

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
