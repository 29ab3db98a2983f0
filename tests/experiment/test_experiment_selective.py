"""The experiment of choosing images to label."""

import numpy as np
import pytest

from configs.studies import selective_labels
from kdjax.core import InputError
from kdjax.evaluate.selective import WAYS
from kdjax.experiment.selective import tables
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
