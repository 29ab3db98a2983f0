"""The teacher of an experiment."""

import jax
import jax.numpy as jnp
import pytest
from contexts import shared
from ml_collections import ConfigDict

from kdjax import models
from kdjax.core import InputError
from kdjax.experiment.teaching import teacher_of

NET = {"name": "conv_net", "widths": (3,)}


@pytest.fixture
def given():
    found = shared()
    found["config"].teacher_training.net = ConfigDict(NET)
    found["config"].data.mean, found["config"].data.std = (0.5,), (0.25,)
    return found["config"], found["dataset"]


def test_it_is_trained_on_all_images(given):
    found = teacher_of(*given)
    assert list(found.stages) == ["teacher"] and found.specification["classes"] == 4 and found.outside is None
    assert found.stages["teacher"].nets == {"network": found.specification} and found.separate == ()


def test_several_teachers_are_members_of_one_stage(given):
    given[0].teachers, given[0].teacher_weights = 2, (1.0, 3.0)
    found = teacher_of(*given)
    assert found.stages["teacher"].members == 2 and found.specification["weights"] == [0.25, 0.75] and not found.separate
    given[0].teachers_combine = "separate"
    assert teacher_of(*given).separate == (0.25, 0.75)
    given[0].teachers = 1
    with pytest.raises(InputError, match=r"teacher_weights=\(1.0, 3.0\) is not accepted with one teacher"):
        teacher_of(*given)


@pytest.mark.parametrize("classes", [0, 4, 7])
def test_what_a_teacher_from_outside_tells_apart_is_known(given, tmp_path, classes):
    own = {**NET, "classes": classes}
    models.write_weights(tmp_path / "own.safetensors", *models.build(own).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))), own)
    given[0].teacher = str(tmp_path / "own.safetensors")
    found = teacher_of(*given)
    assert not found.stages and found.classes == ((given[0].teacher, classes),) and found.given({})["teacher"].source
    if classes == 4:
        found.check_classes(4)
    else:
        with pytest.raises(InputError, match="classes"):
            found.check_classes(4)


def test_images_that_it_does_not_take_are_refused(given, tmp_path):
    own = {**NET, "classes": 4}
    models.write_weights(tmp_path / "own.safetensors", *models.build(own).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))), own)
    given[0].teacher = str(tmp_path / "own.safetensors")
    with pytest.raises(InputError, match=r"--config.teacher=.*own.safetensors is not accepted"):
        teacher_of(*given)
