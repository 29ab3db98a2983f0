"""The teacher of an experiment."""

import jax
import jax.numpy as jnp
import pytest
from contexts import shared
from ml_collections import ConfigDict

from kdjax import models
from kdjax.core import InputError
from kdjax.experiment.teaching import teacher_of
from kdjax.models.quantised import dequantise, quantise
from kdjax.train import Result

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


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_it_teaches_with_its_kernels_in_fewer_bytes(given, tmp_path, precision):
    whole = teacher_of(*given)
    given[0].teacher_precision = precision
    found = teacher_of(*given)
    images = jnp.ones((1, 8, 8, 1))
    params, stats = whole.net.init(jax.random.key(0), images)
    results = {"teacher": Result({"network": jax.tree.map(lambda x: x[None], {"params": params, "stats": stats})}, {}, "d", 0)}
    frozen = found.given(results)["teacher"]
    assert frozen.source == f"{whole.given(results)['teacher'].source} {precision}" and found.specification == whole.specification
    logits = found.net.apply(frozen.params, frozen.stats, images, train=False)[0]["logits"]
    expected = whole.net.apply(dequantise(quantise(params, precision)), stats, images, train=False)[0]["logits"]
    assert (logits == expected).all()
    method = found.stages["teacher"].method
    batch = {"image": images, "label": jnp.zeros(1, jnp.int32), "index": jnp.zeros(1, jnp.int32)}
    state = jax.eval_shape(method.init, jax.random.key(0), batch, {})
    assert set(jax.eval_shape(method.predict, state, images)) == {"network", precision}
    own = {**NET, "classes": 4}
    models.write_weights(tmp_path / "own.safetensors", params, stats, own)
    given[0].teacher = str(tmp_path / "own.safetensors")
    outside = teacher_of(*given)
    assert outside.outside and outside.outside.precision == precision and outside.given({})["teacher"].source.endswith(precision)
    with pytest.raises(InputError, match=rf"teacher_precision='{precision}' is not accepted: expected '' for float32, with hsakd"):
        outside.check_float32("hsakd")


def test_other_precisions_are_refused(given):
    given[0].teacher_precision = "int4"
    with pytest.raises(
        InputError, match=r"teacher_precision='int4' is not accepted: expected 'bfloat16', 'int8' or '' for float32"
    ):
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
