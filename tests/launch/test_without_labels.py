"""Runs of methods that keep something from step to step: clusters, a centre, a queue, prototypes, on views of two sizes.

Killed in the middle of each method they end with the same bits, on other devices near to them; and one that collapses says so.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
from launching import kill, launched, lines, read, stop_after

from kdjax import data
from kdjax.train.checkpoint import read_model

ROOT = Path(__file__).parents[2]
METHODS = ("deepcluster_v2", "dino", "moco", "swav")  # in the order of their stages
STAGES = ("untrained", *METHODS)
EPOCHS, STEPS = 4, 5  # of a method; the encoder before training has five epochs
SMALL = (
    "--config.evaluate_epochs=2", "--config.save_epochs=2", "--config.encoder_training.net.widths=(4,)", "--config.data.batch=16",
    "--config.encoder_training.optimiser.warmup_epochs=0", "--config.head.hidden=16", "--config.head.out=16",
)  # fmt: skip
KEPT = (
    f"--config={ROOT / 'configs/ssl_benchmark.py'}:methods={'/'.join(METHODS)}", *SMALL, "--config.seeds=1",
    f"--config.encoder_training.epochs={EPOCHS}", "--config.encoder_training.optimiser.name=sgd",
    "--config.encoder_training.optimiser.learning_rate=0.05", "--config.views.small.count=2",
    "--config.methods.moco.queue=64", "--config.methods.dino.outputs=8", "--config.methods.swav.prototypes=8",
    "--config.methods.swav.queue=64", "--config.methods.swav.queue_epoch=1", "--config.methods.deepcluster_v2.prototypes=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """80 digits to learn from and 40 others, without labels."""
    file, digits = tmp_path_factory.mktemp("images") / "mine.npz", data.load("digits")
    parts = {"train": (digits.train, 80), "test": (digits.test, 40)}
    np.savez(file, **{f"{part}_images": source.read(np.arange(size))["image"] for part, (source, size) in parts.items()})
    return f"--config.data.source=npz:{file}"


def models(folder):
    return {name: read_model(folder / "models" / name)[0] for name in STAGES}


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    launched(folder, *KEPT, images)
    return folder


def test_a_kill_in_the_middle_of_each_method_changes_no_bit(whole, images, tmp_path):
    """Between two saves, so that some steps are done again: what the methods keep is saved with the weights."""
    folder = tmp_path / "run"
    for name in METHODS:
        kill(folder, name, 3 * STEPS, *KEPT, images)
    said = launched(folder, *KEPT, images)
    assert f"{METHODS[-1]}: resumed at step {2 * STEPS} of {EPOCHS * STEPS}" in said
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    jax.tree.map(np.testing.assert_array_equal, models(folder), models(whole))
    assert read(folder, "summary.json")["results"] == read(whole, "summary.json")["results"]


def test_on_other_devices_and_after_a_change_of_them_in_the_middle_a_run_ends_near_to_it(whole, images, tmp_path):
    """On one device up to the middle of the second method, on eight up to that of the third, on one to the end."""
    folder, devices, blocks = tmp_path / "run", 1, 5 + EPOCHS + 3
    for name in METHODS[1:3]:
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, blocks)
            said = launched(folder, *KEPT, images, f"--config.devices={devices}")
        assert f"stopped by a signal; {name} is saved at step {3 * STEPS}" in said
        devices, blocks = 9 - devices, 1 + 3
    said = launched(folder, *KEPT, images, f"--config.devices={devices}")
    assert f"{METHODS[2]}: other devices or versions than before" in said
    ours, wanted = models(folder), models(whole)
    for name in STAGES:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4), ours[name], wanted[name])
    for x, y in zip(lines(folder), lines(whole), strict=True):
        assert (x["stage"], x["step"]) == (y["stage"], y["step"])
        assert x["loss"] == pytest.approx(y["loss"], rel=1e-3)


def test_what_collapses_raises_an_alarm_that_names_its_measure(images, tmp_path):
    """BYOL's control, without a predictor and with a target that is the network itself: it gives all images one embedding.

    The rank of its representations, in front of the projector, is as it was: it does not tell the one run from the other.
    """
    words = (f"--config={ROOT / 'configs/ssl.py'}", *SMALL, images, "--config.devices=1", "--config.seeds=2")
    words += ("--config.encoder_training.optimiser.learning_rate=0.01", "--config.encoder_training.epochs=60")
    words += ("--config.evaluate_epochs=20", "--config.save_epochs=60")
    told, last = {}, {}
    for name, changed in {"control": ("--config.head.predictor=false", "--config.method.tau=0"), "byol": ()}.items():
        told[name] = launched(tmp_path / name, *words, *changed)
        last[name] = lines(tmp_path / name)[-1]
    alarm = "encoder: embedding_spread is "
    assert alarm in told["control"] and alarm not in told["byol"]
    assert "embedding_spread" in last["control"]["alarms"] and max(last["control"]["embedding_spread"]) < 0.05
    assert min(last["byol"]["embedding_spread"]) > 0.3
    assert "Alarm, " in (tmp_path / "control" / "report.md").read_text()
    for line in last.values():
        assert all(0 < found < 1 for found in line["alignment"]) and all(1.5 < rank < 2.5 for rank in line["test_rank_me"])
