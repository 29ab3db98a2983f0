"""The experiment of an encoder that learns without labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import ssl, ssl_benchmark
from kdjax.core import InputError
from kdjax.experiment import representation
from kdjax.experiment.entry import Entry
from kdjax.train import Result


@pytest.fixture
def config():
    found = ssl.get_config()
    found.encoder_training.net.widths = (4,)
    return found


def test_the_encoder_stands_beside_itself_untrained(config):
    found = ssl.build(config)
    untrained, encoder = found.stages.values()
    assert list(found.stages) == ["untrained", "encoder"] and untrained.steps * 40 == encoder.steps
    assert [floor for _, floor in found.compare] == ["untrained/test_probe_accuracy", "untrained/test_pixels_probe_accuracy"]
    assert encoder.nets["encoder"]["classes"] == 0


def test_a_method_sees_its_heads_views_and_steps(config):
    seen = []

    def make(c):
        seen.append((c.steps, c.options["steps"], c.options["probe"] is not None, c.axis_name, c.mlp_head(), c.encoder))
        return ssl.train_byol(c)

    representation.build(config, {"byol": Entry(ssl.METHODS["byol"].method, make)})
    assert [(steps, told, probe) for steps, told, probe, *_ in seen] == [(n, n, True) for n in (5 * 10, 200 * 10)]


@pytest.mark.parametrize(("name", "views"), [*((name, "affine") for name in ssl.METHODS), ("ressl", "crop"), ("swav", "crop")])
def test_every_method_takes_a_step_on_its_views(name, views):
    config = ssl.get_config(f"method={name},views={views}" + ",encoder=vit" * (name == "mae"))
    net, config.views.small.count = config.encoder_training.net, 2
    net.update({"patch": 2, "depth": 1, "width": 8, "heads": 2} if name == "mae" else {"widths": (4,)})
    stage = ssl.build(config).stages["encoder"]
    rows = {k: jnp.asarray(v) for k, v in stage.source.read(np.arange(128)).items()}
    key = jax.random.key(0)

    def step(rows):
        batch = stage.augment(jax.random.split(key, 128), rows)
        return stage.method.step(stage.method.init(key, batch, {}), batch, key)

    _, metrics = jax.eval_shape(step, rows)
    assert ({"loss"} if name == "mae" else {"loss", "probe"}) <= set(metrics)


def test_a_table_of_methods_is_held_against_what_is_not_trained():
    config = ssl_benchmark.get_config("methods=byol/supervised")
    config.encoder_training.net.widths = (4,)
    found = ssl_benchmark.build(config)
    assert list(found.stages) == ["untrained", "byol", "supervised"]
    assert [stage.optional for stage in found.stages.values()] == [False, True, True]
    assert found.compare[2:] == (
        ("supervised/test_probe_accuracy", "untrained/test_probe_accuracy"),
        ("supervised/test_probe_accuracy", "untrained/test_pixels_probe_accuracy"),
    )
    assert found.stages["supervised"].nets["network"]["classes"] == 10
    config.methods.byol.tau = 2.0
    with pytest.raises(InputError, match=r"^tau=2.0"):
        ssl_benchmark.build(config)


def test_labels_of_twist_come_from_what_twist_has_learnt():
    config = ssl.get_config("method=twist_labels")
    config.encoder_training.net.widths, config.seeds = (4,), 2
    experiment = ssl.build(config)
    found = experiment.stages
    _, first, last = found.items()
    assert experiment.compare[-1] == ("encoder/test_probe_accuracy", "encoder_first/test_probe_accuracy")
    assert (first[0], last[0], last[1].warm_start_from) == ("encoder_first", "encoder", "encoder_first")
    assert (first[1].steps, last[1].steps) == (190 * 10, 10 * 10)
    assert (found["untrained"].warm_start, found["untrained"].warm_start_from) == (None, "")
    assert [stage.about["method"] for _, stage in (first, last)] == ["twist", "twist_labels"]
    rates = [stage.about["training"]["optimiser"]["learning_rate"] for _, stage in (first, last)]
    assert rates == [1e-3, 1e-4] and "first" not in last[1].about
    rows = {k: jnp.asarray(v) for k, v in last[1].source.read(np.arange(8)).items()}
    batch = last[1].augment(jax.random.split(jax.random.key(0), 8), rows)
    learnt = [first[1].method.init(jax.random.key(seed), batch, {}) for seed in (1, 2)]
    weights = [{name: {"params": p, "stats": s} for name, (p, s) in first[1].method.weights(x).items()} for x in learnt]
    result = Result(jax.tree.map(lambda *x: np.stack(x), *weights), {}, "", 0)
    state = last[1].warm_start(last[1].method.init(jax.random.key(3), batch, {}), result, 1)
    jax.tree.map(
        np.testing.assert_array_equal, (state.online.params, state.online.stats), (learnt[1].online.params, learnt[1].online.stats)
    )
    assert set(state.online.params) == {"encoder", "projector", "probe"}


def test_views_that_cannot_be_are_refused(config):
    config.views.kind = "photo"
    with pytest.raises(InputError, match=r"^--config.views.kind 'photo' is not known; accepted: affine, bands, crop"):
        ssl.build(config)
    config = ssl.get_config("method=swav,views=crop")
    config.views.small.update(count=2, size=9)
    with pytest.raises(
        InputError, match=r"^--config.views.small.size=9 is not accepted: expected 1 to 8, the side of the large views"
    ):
        ssl.build(config)


def test_patches_are_hidden_from_transformers_only():
    with pytest.raises(InputError, match=r"^encoder='conv_net' is not accepted: expected a transformer"):
        ssl.build(ssl.get_config("method=mae"))


def test_gradients_are_accumulated_by_methods_that_can(config):
    config.encoder_training.micro = 2
    with pytest.raises(InputError, match=r"encoder_training.micro=2 is not accepted: expected 1: this method does not"):
        ssl.build(config)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"fractions": (0.1, 0.001)},
            "--config.probe: fraction=0.001 is not accepted: of the 1.. examples of class . it is less than one",
        ),
        ({"neighbours": 1348}, "--config.probe: neighbours=1348 is not accepted: expected 1 to 1347, the labelled images"),
        ({"episodes": 600, "queries": 100}, "--config.probe: shots=5 is not accepted with queries=100: class . has 4. rows"),
    ],
)
def test_a_probe_that_does_not_fit_the_labels_is_refused_before_training(config, options, line):
    config.probe.update(options)
    with pytest.raises(InputError, match=line):
        ssl.build(config)
