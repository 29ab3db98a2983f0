"""Peers side by side through the launcher: a gate and shares that are kept from step to step, and what is told of them."""

import json
from pathlib import Path

import pytest
from launching import kill, launched

ROOT = Path(__file__).parents[2]
METHODS = ("kdcl", "one")
STEPS = 3  # of an epoch
SMALL = (
    f"--config={ROOT / 'configs/online_benchmark.py'}:methods=independent/{'/'.join(METHODS)}", "--config.devices=1",
    "--config.seeds=1", "--config.smoothing=0", "--config.baseline_rates=()", "--config.sweep=", "--config.evaluate_epochs=2",
    "--config.save_epochs=2", "--config.student_training.epochs=4", "--config.student_training.net.widths=(4,4)",
    "--config.data.source=digits", "--config.data.image_size=0", "--config.data.train_images=200",
    "--config.methods.kdcl.target=general", "--config.methods.one.warmup_epochs=2",
)  # fmt: skip

GENERAL = ("--config.method.target=general", "--config.data.val_fraction=0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online") / "run"
    return folder, launched(folder, *SMALL)


def test_peers_are_told_each_and_together_beside_those_alone(whole):
    folder, said = whole
    found = json.loads((folder / "summary.json").read_text())["results"]
    for name in ("independent", *METHODS):
        measured = {"accuracy", "peer1_accuracy", "peer2_accuracy", "mean_accuracy", "ensemble_accuracy", "disagreement"}
        assert {f"{name}/test_{measure}" for measure in measured} <= set(found)
    assert {name for name in found if name.endswith("together_accuracy")} == {f"{name}/test_together_accuracy" for name in METHODS}
    assert "together" in said and list((folder / "plots").glob("*.png"))


def test_a_kill_in_the_middle_changes_no_bit(whole, tmp_path):
    """Between two saves: the gate and the shares are saved with the peers."""
    folder = tmp_path / "run"
    for name in METHODS:
        kill(folder, name, 3 * STEPS, *SMALL)
    assert "one: resumed at step 6 of 12" in launched(folder, *SMALL)
    assert (folder / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_a_run_of_another_number_of_peers_is_not_gone_on_with(whole, launch):
    answer = launch(*SMALL, "--config.peers=2", f"--workdir={whole[0]}")
    assert answer.code == 2 and "holds a run with config.peers=3, this command has 2" in answer.err, answer.err
    assert len(answer.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("method", "words", "told"),
    [
        ("one", ("--config.peers=1",), "--config.peers=1 is not accepted: expected a whole number, 2 or more"),
        ("okddip", ("--config.peers=2",), "peers=2 is not accepted: expected 3 or more, a leader and two others"),
        ("one", ("--config.student_training.net.widths=(4,)",), "this net has one: expected 2 or more stages"),
        ("kdcl", GENERAL, "target='general' is not accepted: expected validation images"),
        ("mfef", ("--config.method.scales=3",), "scales=3 is not accepted: expected a divisor of the 16 channels"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(launch, tmp_path, method, words, told):
    answer = launch(f"--config={ROOT / 'configs/mutual.py'}:method={method}", f"--workdir={tmp_path / 'run'}", *words)
    assert answer.code == 2 and told in answer.err and len(answer.err.strip().splitlines()) == 1, answer.err
    assert not (tmp_path / "run").exists()
