"""The experiment of choosing images to label."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.studies import selective_labels
from kdjax.core import InputError
from kdjax.evaluate.selective import WAYS
from kdjax.experiment.selective import neighbours_of, tables
from kdjax.train import Result
from kdjax.train.stage import blank_batch
from launch.table import report_tables


@pytest.fixture
def config():
    found = selective_labels.get_config()
    found.encoder_training.net.widths, found.seeds = (4,), 2
    return found


def collect(split, *taps, given=False):
    labels = np.arange(30) % 10
    return {"encoder": {"pooled": np.random.default_rng(0).normal(size=(2, 30, 4))}}, {"label": labels}


def test_what_was_measured_of_an_encoder_still_is(config):
    config.selection.update(budgets=(3, 5), draws=1, k=3)
    config.probe.update(per_class=1, draws=1)
    untrained, encoder = (selective_labels.build(config).stages[name].evaluate for name in ("untrained", "encoder"))
    assert set(encoder(collect, "test", False)) == set(untrained(collect, "test", False))
    more = set(encoder(collect, "test", True)) - set(untrained(collect, "test", True))
    assert more == {f"{way}_{n}_{what}" for way in WAYS for n in (3, 5) for what in ("accuracy", "classes", "largest", "smallest")}


def test_clusters_are_learnt_from_the_encoder_for_each_number_of_labels(config):
    config.selection.budgets, config.uslt.method.neighbours = (3, 5), 2
    stages = selective_labels.build(config).stages
    assert list(stages) == ["untrained", "encoder", "uslt_3", "uslt_5"]
    encoder, stage = stages["encoder"], stages["uslt_3"]
    state = encoder.method.init(jax.random.key(1), blank_batch(encoder), {})
    weights = {name: {"params": p, "stats": s} for name, (p, s) in encoder.method.weights(state).items()}
    result = Result(jax.tree.map(lambda x: jnp.stack([0 * x, x]), weights), {}, "", 0)
    given = stage.given({})
    new = stage.warm_start(stage.method.init(jax.random.key(2), blank_batch(stage), given), result, 1)
    for held in (new.learner.params["encoder"], new.start.params):
        assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), held, weights["encoder"]["params"])))
    assert new.learner.stats["means"].shape == (3, 3) and new.neighbours.shape == (1347, 2)
    np.testing.assert_array_equal(given["images"].params["image"][7], stage.source.read(np.array([7]))["image"][0])
    config.uslt.train = False
    assert list(selective_labels.build(config).stages) == ["untrained", "encoder"]


class Held(NamedTuple):
    neighbours: jax.Array


def test_neighbours_are_those_of_the_start_and_never_the_image_itself():
    """On an arc, collected in another order than that of the rows."""
    angles, numbers = np.array([0.0, 0.1, 0.25, 2.0, 2.2]), np.array([4, 2, 9, 0, 7])
    order = np.array([3, 0, 4, 2, 1])

    def collect(split, *taps):
        points = np.stack([np.cos(angles), np.sin(angles)], 1)[order]
        return {"encoder": {"pooled": 0 * points}, "start": {"pooled": points}}, {"index": numbers[order]}

    state = Held(jnp.zeros((5, 2), jnp.int32))
    near = neighbours_of(numbers)(collect, state, 0, None).neighbours
    assert near.tolist() == [[1, 2], [0, 2], [1, 0], [4, 2], [3, 2]]
    assert neighbours_of(numbers)(collect, state, 5, None) is state


def measured(**values):
    whats = ("accuracy", "classes", "largest", "smallest")
    return {f"test_{way}_{n}_{what}": value for way, value in values.items() for n in (10, 20) for what in whats}


def test_gains_are_paired_with_random_rows():
    gains, classes = tables({"encoder": measured(usl=[62.0, 64.0], random=[60.0, 61.0])}, (10, 20))
    assert gains.rows["USL"]["10: over random rows"] == "+2.50 [-3.85, 8.85]"
    assert list(gains.rows["random rows"]) == ["10 labels, %", "20 labels, %"]
    assert gains.plot.lines["USL"] == [[62.0, 64.0]] * 2 and list(gains.rows) == ["USL", "random rows"]
    assert classes.rows["USL"]["20: largest / smallest"] == "63.0 / 63.0"
    assert "62.00 ± 1.41" not in report_tables.markdown(classes) and "63.00 ± 1.41" in report_tables.markdown(gains)


def test_learnt_clusters_are_a_stage_for_each_number_of_labels():
    own = {f"uslt_{n}": {f"test_uslt_{what}": [60.0 + n, 61.0 + n] for what in ("accuracy", "classes")} for n in (10, 20)}
    gains, _ = tables({"encoder": measured(random=[60.0, 61.0]), **own}, (10, 20))
    assert gains.rows["USL-T"]["10 labels, %"] == [70.0, 71.0]
    assert gains.rows["USL-T"]["20: over random rows"] == "+20.00 [20.00, 20.00]"


def test_what_is_missing_is_left_out_of_the_tables():
    assert tables({"untrained": {"test_accuracy": [1.0]}}, (10,)) == []
    gains, _ = tables({"encoder": measured(usl=[62.0])}, (10, 20))
    assert gains.rows["USL"]["20: over random rows"] == "" and gains.rows["USL"]["10 labels, %"] == [62.0]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"budgets": (10, 1348)}, r"--config.selection.budgets=\(10, 1348\) is not accepted: expected numbers from 1 to 1347"),
        ({"budgets": ()}, r"--config.selection.budgets=\(\)"),
        ({"k": 1}, "--config.selection.k=1 is not accepted: expected 2 to 1347"),
        ({"draws": 0}, "--config.selection.draws=0"),
        ({"c": 0.0}, "--config.selection.c=0.0"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(config, changed, line):
    config.selection.update(changed)
    with pytest.raises(InputError, match=f"^{line}"):
        selective_labels.build(config)


def test_more_neighbours_than_images_are_refused(config):
    config.uslt.method.neighbours = 1347
    with pytest.raises(InputError, match=r"^--config.uslt.method.neighbours=1347 is not accepted: expected 1 to 1346"):
        selective_labels.build(config)
