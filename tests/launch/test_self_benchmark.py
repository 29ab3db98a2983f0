"""The table of self-distillation, tiny."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import self_benchmark
from kdjax import models
from kdjax.core import Frozen, Net, example_keys
from launch.run import cli

SMALL = (
    "--config.devices=1", "--config.seeds=2", "--config.smoothing=0", "--config.baseline_rates=()", "--config.sweep=",
    "--config.evaluate_epochs=1", "--config.save_epochs=1", "--config.data.source=digits", "--config.data.image_size=0",
    "--config.data.train_images=200", "--config.student_training.epochs=1", "--config.student_training.net.widths=(4,6)",
)  # fmt: skip


@pytest.fixture(scope="module")
def table(launch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "run"
    answer = launch("--config=configs/self_benchmark.py:methods=byot/kd/supervised+mixup", f"--workdir={folder}", *SMALL)
    assert answer.code == 0, answer.err
    return folder, json.loads((folder / "summary.json").read_text())


def test_every_method_is_compared_with_the_network_alone_kd_and_mixup(table):
    _, summary = table
    told = {(c["result"].split("/")[0], c["baseline"].split("/")[0]) for c in summary["comparisons"]}
    alone = {(name, "student_alone") for name in ("byot", "kd", "supervised+mixup")}
    mixup = {("byot", "supervised+mixup"), ("kd", "supervised+mixup")}
    assert told == alone | mixup | {("byot", "kd"), ("supervised+mixup", "kd")}


def test_exits_are_measured_beside_the_shipped_network(table):
    _, summary = table
    assert {"byot/test_accuracy", "byot/test_exit1_accuracy", "byot/test_ensemble_accuracy"} <= set(summary["results"])
    assert not any(name.startswith("student_alone/test_exit") for name in summary["results"])


def test_the_report_tells_the_passes_of_a_step(table):
    text = (table[0] / "report.md").read_text()
    rows = [line for line in text.partition("Forward passes a step")[2].splitlines() if line.startswith("|")][2:5]
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in rows] == [
        ["byot", "1"],
        ["kd", "2"],
        ["supervised+mixup", "1"],
    ]


def test_the_default_holds_every_method_for_the_net():
    config: Any = self_benchmark.get_config("data=cifar10")
    assert {"byot", "dks", "frskd", "mixskd", "kd", "supervised+mixup"} <= set(config.methods) and "cosub" not in config.methods
    assert (config.data.source, config.data.image_size) == ("tfds:cifar10", 16)


def test_passes_are_those_of_a_step(monkeypatch):
    """Counted by a net that notes how many images it sees."""
    seen, build = [], models.build

    def noted(specification, **options):
        net = build(specification, **options)

        def apply(params, stats, x, **how):
            seen.append(len(x))
            return net.apply(params, stats, x, **how)

        return Net(net.init, apply)

    monkeypatch.setattr(models, "build", noted)
    names = [name for name in self_benchmark.METHODS if name not in self_benchmark.OTHERS]
    config = cli.read_config(f"configs/self_benchmark.py:methods={'/'.join(names)}", SMALL)[1]
    stages = self_benchmark.build(config).stages
    for name in names:
        stage, key = stages[name], jax.random.key(0)
        assert stage.source and stage.sampler and stage.augment
        batch = stage.source.read(np.asarray(stage.sampler.rows(0, 0)))
        batch = stage.augment(example_keys(key, jnp.asarray(batch["index"])), batch)
        net = stage.nets.get("network") or stage.nets["student"]
        given = {n: Frozen(*build(net).init(key, batch["image"])) for n in stage.method.needs}
        state = jax.eval_shape(stage.method.init, key, batch, given)
        seen.clear()
        jax.eval_shape(stage.method.step, state, batch, key)
        assert sum(seen) == self_benchmark.PASSES.get(name, 1) * config.data.batch, name
