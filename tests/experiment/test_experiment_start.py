"""Networks that start from weights of elsewhere."""

import jax
import jax.numpy as jnp
import pytest
from contexts import STUDENT, shared, stages_of

from kdjax import models
from kdjax.core import InputError
from kdjax.experiment.context import Experiment
from kdjax.experiment.start import recorded, started, with_options


@pytest.fixture
def file(tmp_path):
    weights = models.build(STUDENT).init(jax.random.key(5), jnp.zeros((1, 8, 8, 1)))
    models.write_weights(tmp_path / "own.safetensors", *weights, STUDENT)
    return tmp_path / "own.safetensors"


def test_what_a_stage_takes_over_from_one_before_that_one_starts_with(file):
    config = shared()["config"]
    config.init = str(file)
    found = started(config, Experiment(stages_of("ab", models.conv_net((3, 4), 4)), shared()["dataset"]))
    assert [len(stage.start) for stage in found.stages.values()] == [1, 0]
    assert recorded(found)["student_first/student"]["format"] == "kdjax"
    config.init = f"teachr={file}"
    with pytest.raises(InputError, match="there is no stage 'teachr'; accepted: "):
        started(config, found)


def test_options_of_a_reader_are_those_of_the_config():
    assert with_options("give net.stem=imagenet or part=ema", "teacher") == (
        "give --config.teacher_training.net.stem=imagenet or --config.teacher_part=ema"
    )
    assert with_options("give net.stem=imagenet or resize=True", "init") == "give net.stem=imagenet or --config.init_resize=True"
