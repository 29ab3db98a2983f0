"""The experiment of a teacher without its data."""

import jax
import jax.numpy as jnp
import pytest

from configs import data_free
from kdjax import methods
from kdjax.core import Frozen, InputError
from kdjax.experiment import data_free as experiment
from kdjax.experiment.inception import Judge

NEEDED = {"dkd": {"steps_per_epoch": 1}}


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
    assert nets["generator"] == made | {"last": "sigmoid", "init": "fan_in"}


def test_a_generator_with_batch_norm_last_has_the_units_of_the_data(config):
    config.generator.last = "tanh_norm"
    nets = data_free.build(config).stages["student"].nets
    assert nets["generator"]["mean"] == list(nets["student"]["mean"]) and nets["generator"]["std"] == list(nets["student"]["std"])


def test_made_images_can_be_looked_at(config):
    stages = data_free.build(config).stages

    def samples(key):
        images = {"image": jnp.zeros((2, 8, 8, 1)), "label": jnp.arange(2), "index": jnp.arange(2)}
        lessons = stages["teacher"].method
        params, stats = lessons.weights(lessons.init(key, images, {}))["network"]
        state = stages["student"].method.init(key, {"index": jnp.arange(2)}, {"teacher": Frozen(params, stats, "of a test")})
        return stages["student"].samples(state, key), stages["student"].frames(state, key)

    assert [x.shape for x in jax.eval_shape(samples, jax.random.key(0))] == [(64, 8, 8, 1), (8, 8, 8, 1)]


@pytest.mark.parametrize(("method", "shape"), [("cgdd", (10, 8, 8, 1)), ("cmi", (8, 8, 8, 1))])
def test_on_the_way_each_class_is_shown_where_it_is_asked_for_else_the_newest(method, shape):
    found = data_free.get_config(f"method={method}", latent=8)
    stage = small(found).stages["student"]
    state = jax.eval_shape(stage.method.init, jax.random.key(0), {"index": jnp.arange(10)}, teacher(found))
    assert jax.eval_shape(stage.frames, state, jax.random.key(0)).shape == shape


def test_an_inception_that_is_missing_is_one_line(config):
    config.inception = "gone.pth"
    with pytest.raises(InputError, match=r"^--config.inception=gone.pth is not accepted: .*gone.pth is not there: .*FID.*$"):
        data_free.build(config)


def test_images_are_judged_by_the_inception_that_is_given_and_the_record_names_it(config, monkeypatch):
    judge, asked = Judge(lambda images: images.reshape(len(images), -1), "f" * 64), []
    monkeypatch.setattr(experiment, "read_inception", lambda path: judge)
    monkeypatch.setattr(experiment, "without_data", lambda look, features, **options: asked.append(features))
    assert data_free.build(config).stages["student"].about["inception"] == judge.sha256 and asked == [judge.features]


def test_gradients_are_not_accumulated(config):
    config.student_training.micro = 2
    with pytest.raises(InputError, match=r"student_training.micro=2 is not accepted: expected 1: this method does not"):
        data_free.build(config)


@pytest.mark.parametrize("objective", ["dkd", "at+rkd"])
def test_a_student_may_be_asked_for_any_offline_objective(objective):
    found = data_free.get_config(f"objective={objective}", latent=8)
    method = small(found).stages["student"].method
    batch = {"index": jnp.arange(4)}
    state = jax.eval_shape(method.init, jax.random.key(0), batch, teacher(found))
    metrics = jax.eval_shape(method.step, state, batch, jax.random.key(0))[1]
    names = [name for part in objective.split("+") for name in getattr(methods, part).objective(**NEEDED.get(part, {})).weights]
    assert {f"student_{name}" for name in names} < set(metrics)
    assert "student_distillation" not in metrics and "student_cross_entropy" not in metrics


@pytest.mark.parametrize("method", ["fast_dfkd", "cmi"])
def test_an_epoch_of_rounds_is_a_round(method):
    found = data_free.get_config(f"method={method}", warm_up=4, synthesis_steps=5, student_steps=7)
    found.student_training.epochs = 6
    stage = small(found).stages["student"]
    assert stage.steps == 6 * 5 + 2 * 7 and list(stage.nets) == ["student", "generator"]
    found.method.warm_up = 6
    with pytest.raises(InputError, match=r"--config.method.warm_up=6 is not accepted: expected 0 or more, fewer than the 6 epochs"):
        data_free.build(found)


def test_a_moving_average_can_be_loaded_too():
    found = data_free.get_config("method=mad", latent=8)
    assert list(small(found).stages["student"].nets) == ["student", "generator", "average_generator"]


def small(config):
    config.student_training.net.widths = config.teacher_training.net.widths = (4,)
    config.generator.features = 4
    return data_free.build(config)


def teacher(config):
    lessons = data_free.build(config).stages["teacher"].method
    images = {"image": jnp.zeros((2, 8, 8, 1)), "label": jnp.arange(2), "index": jnp.arange(2)}
    params, stats = jax.eval_shape(lambda key: lessons.weights(lessons.init(key, images, {}))["network"], jax.random.key(0))
    return {"teacher": Frozen(params, stats, "of a test")}


def test_a_setting_has_published_values_or_says_for_which_methods_it_does():
    found = data_free.get_config("method=fast_dfkd,setting=cifar10")
    assert (found.student_training.epochs, found.generator.optimiser.learning_rate, found.method.adversarial) == (220, 3e-3, 1.33)
    assert found.method.pool == 51200 and found.method.student_steps == found.student_steps_per_epoch == 400
    with pytest.raises(InputError, match=r"setting=cifar10 has no published values of mad; it has those of adi, cmi, cudfkd"):
        data_free.get_config("method=mad,setting=cifar10")


def test_an_objective_that_needs_labels_of_images_is_refused():
    found = data_free.get_config("objective=at+crd")
    with pytest.raises(InputError, match=r"objective 'crd' is not accepted: it needs the labels of training images, and there are"):
        data_free.build(found)
