"""A net that learns a task: on its rows, for its classes, and scored on it alone."""

from dataclasses import replace

import numpy as np
import pytest

from configs.studies import task_distance as study
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import plain
from kdjax.experiment.data import load_data
from kdjax.experiment.nets import net_specification
from kdjax.experiment.task_stage import task_stage
from kdjax.experiment.tasks import read_tasks


@pytest.fixture
def found():
    """A context, and the digits 5 to 9 as a task."""
    config = study.get_config()
    config.training.net.widths = (3,)
    dataset = load_data(config)
    specification = net_specification(config.training.net, dataset, config)
    c = ClassifierContext(
        config=config, dataset=dataset, name="first", members=2,
        training=plain(config.training), specification=specification, steps_per_epoch=0, source=dataset.train, axis_name=None,
    )  # fmt: skip
    return c, *read_tasks(("5-9",), dataset, config.data, "--config.sources")


def test_it_learns_the_rows_and_classes_of_the_task(found):
    c, task = found
    (stage,) = task_stage(c, task).values()
    assert list(task_stage(replace(c, name="another"), task)) == ["another"]
    assert stage.nets["network"]["classes"] == 5 and stage.optional
    assert stage.source is task.train and stage.steps == 40 * (671 // 64)


def test_it_is_scored_on_the_task_at_the_end_beside_further_measures(found):
    c, task = found
    asked = []

    def collect(split, *taps, given=False):
        asked.append(split)
        return {"network": {"logits": np.eye(5, dtype=np.float32)[np.arange(20) % 5][None]}}, {"label": np.arange(20) % 5}

    (stage,) = task_stage(c, task, [lambda collect, split, final: {"further": np.ones(1)}]).values()
    assert stage.evaluate(collect, "test", False) == {"further": np.ones(1)} and not asked
    measured = stage.evaluate(collect, "test", True)
    assert measured["accuracy"] == 100 and measured["further"] == 1 and set(asked) == {"classes_5_9/test"}
