"""The experiment of a teacher without its data."""

import jax
import jax.numpy as jnp
import pytest

from configs import data_free
from kdjax.core import Frozen, InputError


@pytest.fixture
def config():
    found = data_free.get_config("", latent=8)
    found.student_training.net.widths = found.teacher_training.net.widths = (4,)
    found.generator.features = 4
    return found


def test_the_student_has_no_rows_and_epochs_of_the_generator(config):
    found = data_free.build(config)
    assert list(found.stages) == ["teacher", "student"]
    stage = found.stages["student"]
    assert stage.source is None and stage.steps == 30 * 10 and stage.method.needs == ("teacher",)


def test_its_generator_can_be_loaded(config):
    nets = data_free.build(config).stages["student"].nets
    assert list(nets) == ["student", "generator"]
    made = {"name": "generator", "size": [8, 8], "channels": 1, "latent": 8, "features": 4, "dtype": "float32"}
    assert nets["generator"] == made


def test_made_images_can_be_looked_at(config):
    stages = data_free.build(config).stages

    def samples(key):
        images = {"image": jnp.zeros((2, 8, 8, 1)), "label": jnp.arange(2), "index": jnp.arange(2)}
        lessons = stages["teacher"].method
        params, stats = lessons.weights(lessons.init(key, images, {}))["network"]
        state = stages["student"].method.init(key, {"index": jnp.arange(2)}, {"teacher": Frozen(params, stats, "of a test")})
        return stages["student"].samples(state, key)

    assert jax.eval_shape(samples, jax.random.key(0)).shape == (64, 8, 8, 1)


def test_gradients_are_not_accumulated(config):
    config.student_training.micro = 2
    with pytest.raises(InputError, match=r"student_training.micro=2 is not accepted: expected 1: this method does not"):
        data_free.build(config)
