"""A network that learns classes from images."""

import jax
from contexts import ROWS, STUDENT, shared

from kdjax.experiment.classifier import ClassifierContext


def classifier(**changed):
    return ClassifierContext(name="alone", settings={"smoothing": 0.1}, **shared(**changed))


def test_a_stage_of_all_images():
    stages = classifier(members=3).stage()
    stage = stages["alone"]
    assert list(stages) == ["alone"] and stage.nets == {"network": STUDENT} and stage.source is ROWS
    assert (stage.steps, stage.batch, stage.members, tuple(stage.pace)) == (45, 2, 3, (15, 75, 150))
    seen = jax.eval_shape(stage.view, ROWS.read([0, 1]))
    assert seen.shape == (2, 8, 8, 1)


def test_fields_of_a_stage_can_be_others():
    stage = classifier().stage(members=2, steps=7, nets={})["alone"]
    assert (stage.members, stage.steps, stage.nets) == (2, 7, {})
    assert classifier().stage(grid={"learning_rate": (0.1, 0.2)})["alone"].hyper["learning_rate"].tolist() == [0.1, 0.2]
