import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs import text as config_file
from kdjax import methods, models
from kdjax.core import Frozen
from kdjax.experiment.config import plain


def small(variant=""):
    config = config_file.get_config(variant)
    for section in (config.teacher_training, config.student_training):
        section.net = {"width": 4, "depth": 1, "heads": 1}
    return config


def test_stages():
    experiment = config_file.build(small())
    assert list(experiment.stages) == ["teacher", "student_alone", "student"]
    assert [stage.members for stage in experiment.stages.values()] == [1, 3, 3]
    assert experiment.stages["student"].method.needs == ("teacher",)
    assert experiment.compare[0] == ("student/test_accuracy", "student_alone/test_accuracy")
    net = experiment.stages["student"].nets["student"]
    assert net == {"name": "causal_transformer", "classes": 256, "dtype": "float32", "width": 4, "depth": 1, "heads": 1}


def test_a_step_is_that_of_the_method_on_tokens():
    config = small("method=lskd")
    stage = config_file.build(config).stages["student"]
    net = models.build(stage.nets["student"])
    batch = {name: jnp.asarray(x) for name, x in stage.source.read(np.arange(4)).items()}
    teacher = Frozen(*net.init(jax.random.key(1), batch["tokens"]), "")
    state = stage.method.init(jax.random.key(0), batch, {"teacher": teacher})
    _, metrics = jax.jit(stage.method.step)(state, batch, jax.random.key(2))

    options = plain(config.method)
    assert options.pop("name") == "lskd"
    own = methods.lskd(net, net, optax.sgd(0.1), **options)
    _, expected = jax.jit(own.step)(own.init(jax.random.key(0), batch, {"teacher": teacher}), batch, jax.random.key(2))
    assert set(metrics) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5)
