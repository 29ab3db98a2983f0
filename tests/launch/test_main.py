"""What a run leaves behind, how it goes on, and what can be made of it."""

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from launching import CONFIGS, ROOT, TINY, built, lines, read, stop_after
from PIL import Image

import kdjax
from kdjax import augment, data, evaluate
from kdjax.core import jit_fast_compile
from kdjax.train.checkpoint import read_model
from kdjax.train.stage import blank_batch
from launch.run import cli, experiment, progress

STAGES = ["teacher", "student_alone", "student"]


def test_config_json_holds_all_that_a_repetition_needs(run):
    about = read(run[0], "config.json")
    assert about["stages"] == STAGES and about["members"] == "map" and about["deterministic"] is True
    assert about["config"]["teacher_training"]["net"] == {"name": "conv_net", "widths": [8]}
    assert about["platform"]["device"] == "cpu" and {"jax", "jaxlib", "flax", "optax"} <= set(about["platform"])
    assert about["git"] is None or len(about["git"]) == 40
    digits = data.load("digits")
    learning = ["teacher", "student_alone", "student"]
    shape = {"shape": [8, 8, 1], "train": learning, "crop": 0, "own_val": False, "notes": [], "exif_orientation": False}
    assert about["data"] == {"source": "digits", "digest": digits.digest, "names": list("0123456789"), **shape}
    assert about["devices"] == {"parallel": "jit", "mesh": {"data": 1, "model": 1}, "processes": 1}
    assert about["reader"] == "resident" and about["methods"] == dict(zip(STAGES, ["supervised", "supervised", "kd"], strict=True))


def test_metrics_hold_one_object_a_log_point_and_times_lie_apart(run):
    found = lines(run[0])
    assert [(x["stage"], x["epoch"]) for x in found if x["stage"] != "student_alone"][:3] == [
        ("teacher", 1),
        ("teacher", 2),
        ("student", 1),
    ]
    for line in found:
        assert len(line["loss"]) == (1 if line["stage"] == "teacher" else 2)
        assert np.isfinite(line["loss"]).all() and "val_accuracy" in line
        assert not [k for k in line if "second" in k]
    times = lines(run[0], "times.jsonl")
    assert [(t["stage"], t["step"]) for t in times] == [(x["stage"], x["step"]) for x in found]
    assert all(t["seconds"] > 0 and t["images_per_second"] > 0 for t in times)


def test_config_json_holds_the_digests_of_the_weights(run):
    kept = read(run[0], "config.json")["weights"]
    assert kept == {stage: read_model(run[0] / "models" / stage)[1]["digest"] for stage in STAGES}


def test_the_student_alone_sees_the_labelled_images_and_the_distilled_one_all():
    module, config = cli.read_config(str(ROOT / "configs/quickstart.py"), ["--config.labels_per_class=7"])
    stages = module.build(config).stages
    labels = {name: stage.source.read(np.arange(stage.source.size))["label"] for name, stage in stages.items()}
    counted = {name: np.bincount(found + 1, minlength=11).tolist() for name, found in labels.items()}
    assert counted["student_alone"] == counted["student_smoothed"] == [0] + [7] * 10
    assert counted["student"] == [len(labels["teacher"]) - 70] + [7] * 10 and counted["teacher"][0] == 0
    assert len({stage.steps for name, stage in stages.items() if name != "teacher"}) == 1


def test_summary_has_the_keys_that_others_read(run):
    summary = read(run[0], "summary.json")
    wanted = {
        "method",
        "config",
        "data",
        "steps",
        "seeds",
        "protocol",
        "results",
        "wall_seconds",
        "device",
        "scores",
        "measures",
        "tasks",
    }
    assert wanted <= set(summary) <= wanted | {"comparisons", "points", "damaged", "left_out"}
    assert summary["left_out"] == []
    assert (summary["method"], summary["data"], summary["seeds"], summary["device"]) == ("kd", "digits", [0, 1], "cpu")
    assert summary["config"] == {"file": "quickstart.py", "variant": ""} and list(summary["steps"]) == STAGES
    assert {f"{s}/test_{m}" for s in STAGES for m in ("accuracy", "ece", "nll")} <= set(summary["results"])
    for found in summary["results"].values():
        assert found["mean"] == pytest.approx(np.mean(found["values"]))
        assert found["std"] == pytest.approx(np.std(found["values"], ddof=1) if len(found["values"]) > 1 else 0)
    values = summary["results"]["student/test_accuracy"]["values"]
    assert len(values) == 2 and all(0 <= v <= 100 for v in values)
    gain = summary["comparisons"][0]
    alone = summary["results"]["student_alone/test_accuracy"]["values"]
    assert gain["mean"] == pytest.approx(np.mean(np.subtract(values, alone))) and gain["low"] <= gain["mean"] <= gain["high"]
    assert summary["protocol"]["test_images"] == 450 and summary["protocol"]["seeds_share"] == "batch"


def test_plots_models_and_checkpoints_are_there(run):
    for name in ("curves", "scores"):
        with Image.open(run[0] / f"plots/{name}.png") as image:
            assert image.size > (200, 200) and len(image.convert("L").getcolors()) > 20
    for stage in STAGES:
        assert list((run[0] / "checkpoints" / stage).iterdir())
        weights, notes = read_model(run[0] / "models" / stage)
        assert weights and notes["measures"].keys() >= {"test_accuracy"}
    assert sorted(p.name for p in run[0].iterdir() if p.name != ".lock") == [
        "checkpoints", "config.json", "export", "metrics.jsonl", "models", "plots", "report.md", "summary.json", "tensorboard",
        "times.jsonl",
    ]  # fmt: skip


def test_the_same_command_again_shows_the_summary(launch, run, monkeypatch):
    def refuse(*_):
        raise AssertionError("a finished run must not train")

    monkeypatch.setattr(experiment, "run_stages", refuse)
    before = {p: p.stat().st_mtime_ns for p in run[0].rglob("*")}
    again = launch(f"--workdir={run[0]}", *TINY)
    assert again.code == 0 and again.err == "" and "is finished:" in again.out
    table = run[1].out[run[1].out.index("kd on digits") :].split()
    assert again.out[again.out.index("kd on digits") :].split() == table
    assert {p: p.stat().st_mtime_ns for p in run[0].rglob("*")} == before


def test_the_table_is_whole_and_says_what_comes_next(run):
    out = run[1].out
    assert "…" not in out and "test" not in out.split("kept in")[0].split("kd on digits")[1]
    assert "top5 accuracy %" in out and "student - student_alone" in out
    assert f"python launch/predict.py {run[0]} <image or folder>" in out


@pytest.fixture
def uncached(tmp_path, monkeypatch):
    monkeypatch.setenv("KDJAX_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("blocks", [1, 4, 7])
def test_a_run_that_crashed_goes_on_to_the_same_end(blocks, launch, run, tmp_path, monkeypatch, uncached):
    advance, left = progress.Progress.advance, [blocks]

    def fail(self, *args):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("power cut")
        advance(self, *args)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(progress.Progress, "advance", fail)
        launch(f"--workdir={tmp_path / 'run'}", *TINY)
    assert not (tmp_path / "run/summary.json").exists()
    answer = launch(f"--workdir={tmp_path / 'run'}", *TINY)
    assert answer.code == 0 and ("resumed at step" in answer.out) == (blocks != 2)
    assert (tmp_path / "run/metrics.jsonl").read_text() == (run[0] / "metrics.jsonl").read_text()
    assert read(tmp_path / "run", "summary.json")["results"] == read(run[0], "summary.json")["results"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_so_in_one_line(number, launch, run, tmp_path, monkeypatch, uncached):
    advance, blocks, before = progress.Progress.advance, [], signal.getsignal(number)

    def poke(self, *args):
        blocks.append(args)
        advance(self, *args)
        if len(blocks) == 4:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(progress.Progress, "advance", poke)
        answer = launch(f"--workdir={tmp_path / 'run'}", *TINY)
    step = blocks[-1][1]
    assert answer.code == 0 and answer.err == "" and len(blocks) == 4
    assert answer.out.splitlines()[-1].startswith(f"stopped by a signal; student_alone is saved at step {step} of")
    assert (tmp_path / "run/checkpoints/student_alone" / str(step)).is_dir()
    assert signal.getsignal(number) is before
    assert launch(f"--workdir={tmp_path / 'run'}", *TINY).code == 0
    assert (tmp_path / "run/metrics.jsonl").read_text() == (run[0] / "metrics.jsonl").read_text()


def test_a_second_interrupt_ends_at_once_in_one_line(launch, tmp_path, monkeypatch, uncached):
    def poke(self, *args):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress.Progress, "advance", poke)
    answer = launch(f"--workdir={tmp_path / 'run'}", *TINY)
    assert answer.code == 130 and answer.err.startswith("error: interrupted") and answer.err.count("\n") == 1


def test_divergence_is_told_in_one_line(launch, tmp_path, uncached):
    answer = launch(f"--workdir={tmp_path / 'run'}", *TINY, "--config.teacher_training.optimiser.learning_rate=1e30")
    assert answer.code == 1 and answer.err.startswith("error: teacher diverged") and answer.err.count("\n") == 1


def test_loaded_networks_have_the_recorded_accuracy(run):
    test = data.load("digits").test
    batch = test.read(np.arange(test.size))
    results = read(run[0], "summary.json")["results"]
    for stage, member in (("teacher", 0), ("student", 0), ("student", 1)):
        net, params, stats = kdjax.load(run[0], stage, member_number=member)
        taps, _ = net.apply(params, stats, augment.as_float(batch["image"]), train=False)
        accuracy = 100 * float(evaluate.top_k(taps["logits"], batch["label"]).mean())
        assert accuracy == pytest.approx(results[f"{stage}/test_accuracy"]["values"][member], abs=1e-4)


def test_a_finished_run_serves_as_teacher(launch, run, tmp_path):
    answer = launch(f"--workdir={tmp_path / 'run'}", f"--config.teacher={run[0]}", *TINY, "--config.student_training.epochs=1")
    assert answer.code == 0 and read(tmp_path / "run", "config.json")["stages"] == STAGES[1:]
    agreement = read(tmp_path / "run", "summary.json")["results"]["student/test_agreement"]
    assert len(agreement["values"]) == 2


def test_another_run_takes_finished_stages_from_the_cache(launch, run, tmp_path):
    answer = launch(f"--workdir={tmp_path / 'run'}", *TINY, "--config.method.temperature=2")
    assert answer.code == 0
    assert "teacher: taken from the cache" in answer.out and "student: taken from the cache" not in answer.out
    assert lines(tmp_path / "run")[:2] == lines(run[0])[:2]
    (one, other) = (read(f, "summary.json")["results"]["student/test_nll"] for f in (run[0], tmp_path / "run"))
    assert one["values"] != other["values"]


EDITED = """
from configs import quickstart
from configs.quickstart import get_config

def build(config):
    found = quickstart.build(config)
    teacher = found.stages["teacher"]

    def step(state, batch, key):
        after, metrics = teacher.method.step(state, batch, key)
        return {}, metrics

    method = teacher.method._replace(step=step)
    return found._replace(stages={{"teacher": teacher._replace(method=method)}}, compare=())
"""


def test_an_edited_config_file_is_another_stage(launch, tmp_path):
    """What no setting tells: the file itself makes the optimiser, and it is set to rate 0."""
    file, seen = tmp_path / "mine.py", {}
    for number, result in enumerate(("after", "state", "after")):
        file.write_text(EDITED.format(result))
        folder = tmp_path / str(number)
        answer = launch(f"--config={file}", f"--workdir={folder}", *TINY, "--config.teacher_training.epochs=1")
        assert answer.code == 0, answer.err
        seen[number] = read(folder, "summary.json")["results"]["teacher/test_nll"], "taken from the cache" in answer.out
    assert seen[0][0] == seen[2][0] != seen[1][0] and [cached for _, cached in seen.values()] == [False, False, True]


def test_help_names_every_field(launch, classify):
    config = cli.read_config(str(ROOT / "configs/quickstart.py"), [])[1]
    answer = launch("--help")
    assert answer.code == 0 and answer.err == ""

    def fields(section, above):
        for name, value in section.items():
            yield from fields(value, f"{above}.{name}") if hasattr(value, "items") else [f"--{above}.{name}="]

    assert all(field in answer.out for field in fields(config, "config"))
    for word in ("--config=", "--workdir=", "--list", "--help", "a whole number, 1 or more", "float32, bfloat16", "npz:<path>"):
        assert word in answer.out
    answer = launch(f"--config={ROOT / 'configs/digits_byol.py'}", "-h", "--config.seeds=7")
    assert "--config.seeds=7 " in answer.out and "--config.method.tau=0.99" in answer.out and "BYOL" in answer.out
    answer = classify("--help")
    assert answer.code == 0 and all(word in answer.out for word in ("--stage", "--seed", "--top", "--csv"))


def test_list_names_methods_nets_and_configs(launch):
    answer = launch("--list")
    assert answer.code == 0 and answer.err == ""
    for word in (*kdjax.methods.__all__, *kdjax.models.NETS, "npz:<path>", "adam", "crop_flip", *(f"configs/{c}" for c in CONFIGS)):
        assert word in answer.out


def test_a_stopped_run_goes_on_with_other_devices(launch, half):
    words = [w for w in TINY if "devices" not in w]
    answer = launch(f"--workdir={half}", *words, "--config.seed=3", "--config.devices=2", "--config.parallel=shard_map")
    assert (answer.code, answer.err) == (0, "") and "student_alone: resumed at step" in answer.out
    assert "other devices or versions than before, so the result is not repeated bit for bit" in answer.out
    assert read(half, "config.json")["devices"] == {"parallel": "shard_map", "mesh": {"data": 2, "model": 1}, "processes": 1}


BYOL = (
    f"--config={ROOT / 'configs/digits_byol.py'}",
    "--config.devices=1", "--config.seeds=2", "--config.evaluate_epochs=1", "--config.save_epochs=1", "--config.probe.draws=1",
    "--config.encoder_training.net.widths=(4,)", "--config.encoder_training.epochs=1", "--config.data.batch=256",
    "--config.encoder_training.optimiser.warmup_epochs=0", "--config.head.hidden=8", "--config.head.out=4",
)  # fmt: skip


def test_byol_runs_and_its_baseline_keeps_its_weights(launch, classify, tmp_path, pictures):
    folder = tmp_path / "run"
    answer = launch(f"--workdir={folder}", *BYOL)
    assert (answer.code, answer.err) == (0, "") and "classify images" not in answer.out
    results = read(folder, "summary.json")["results"]
    assert len(results["encoder/test_probe_accuracy"]["values"]) == 2 and "untrained/test_knn_accuracy" in results
    for stage in ("untrained", "encoder"):
        with Image.open(folder / f"plots/{stage}_embedding.png") as image:
            assert len(image.convert("RGB").getcolors(10**6)) > 20
    stages = built("digits_byol.py", *BYOL[1:]).stages
    for member in range(2):
        key = jax.random.fold_in(jax.random.key(member), 0)
        stage = stages["untrained"]
        first, stats = stage.method.weights(jit_fast_compile(lambda k, s=stage: s.method.init(k, blank_batch(s), {}))(key))[
            "encoder"
        ]
        _, params, moved = kdjax.load(folder, "untrained", member_number=member)
        jax.tree.map(np.testing.assert_array_equal, params, dict(first))
        assert any(not np.allclose(a, b) for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(moved), strict=True))
        trained = jax.tree.leaves(kdjax.load(folder, "encoder", member_number=member)[1])
        assert any(not np.allclose(a, b) for a, b in zip(trained, jax.tree.leaves(params), strict=True))
    refused = classify(folder, pictures[0] / "0000.png")
    assert refused.code == 2 and "holds an encoder without classes: give --features=<file.npz>" in refused.err
    assert "--features=features.npz" in answer.out
    written = classify(folder, pictures[0], f"--features={tmp_path / 'x.npz'}", "--seed=1")
    assert (written.code, written.out) == (0, f"features of 450 images, 4 numbers each, written to {tmp_path / 'x.npz'}\n")
    with np.load(tmp_path / "x.npz") as found:
        rank = float(evaluate.rank_me(found["features"]))
    assert rank == pytest.approx(results["encoder/test_rank_me"]["values"][1], rel=1e-4)


@pytest.mark.parametrize("labelled", [False, True])
def test_byol_learns_from_images_without_labels(launch, tmp_path, labelled):
    """With labels of test images a half of these is probed with; without any, only what needs none is measured."""
    train, test = (source.read(np.arange(120)) for source in (data.load("digits").train, data.load("digits").test))
    arrays = {"test_images": test["image"], "test_labels": test["label"]} if labelled else {}
    np.savez(tmp_path / "mine.npz", train_images=train["image"], **arrays)
    folder, small = tmp_path / "run", ("--config.data.batch=32", "--config.seeds=1", "--config.probe.per_class=2")
    answer = launch(f"--workdir={folder}", *BYOL, *small, f"--config.data.source=npz:{tmp_path / 'mine.npz'}")
    assert (answer.code, answer.err) == (0, "")
    told = "probe and kNN learn from " if labelled else "no labels of two classes: the probe and kNN are left out"
    assert f"data: {'training images have no labels: ' * labelled}{told}" in answer.out
    assert told in (folder / "report.md").read_text()
    results = read(folder, "summary.json")["results"]
    assert "encoder/test_rank_me" in results and ("encoder/test_probe_accuracy" in results) == labelled
    assert (folder / "plots" / "scores.png").exists()


def test_datafree_runs_and_shows_its_images(launch, tmp_path):
    words = (
        f"--config={ROOT / 'configs/digits_datafree.py'}",
        "--config.devices=1", "--config.seeds=2", "--config.evaluate_epochs=1", "--config.save_epochs=1", "--config.data.batch=32",
        "--config.teacher_training.epochs=1", "--config.teacher_training.net.widths=(8,)",
        "--config.student_training.epochs=1", "--config.student_training.net.widths=(4,)", "--config.generator.features=4",
        "--config.student_steps_per_epoch=4", "--config.method.student_steps=2", "--config.method.latent=8",
    )  # fmt: skip
    answer = launch(f"--workdir={tmp_path / 'run'}", *words)
    assert (answer.code, answer.err) == (0, "")
    with Image.open(tmp_path / "run/plots/student_images.png") as image:
        assert min(image.size) >= 400 and len(image.getcolors()) > 20
    last = lines(tmp_path / "run")[-1]
    assert {"student_loss", "generator_loss", "generator_one_hot", "test_accuracy"} <= set(last) and last["step"] == 2


def test_every_rate_that_was_tried_is_told(launch, tmp_path):
    words = ("--config.baseline_rates=(0.001,0.3)", "--config.student_training.epochs=1")
    answer = launch(f"--workdir={tmp_path / 'run'}", *TINY, *words)
    assert answer.code == 0, answer.err
    summary = read(tmp_path / "run", "summary.json")
    (points,) = summary["points"].values()
    assert sorted(p["learning_rate"] for p in points) == pytest.approx([0.001, 0.3])
    assert points[0]["val_accuracy"] >= points[1]["val_accuracy"]
    assert len(summary["results"]["student_alone/test_accuracy"]["values"]) == 2
    assert "student_alone: chosen by val accuracy %: learning rate" in answer.out


def test_bars_show_the_stage_at_hand(launch, tmp_path, monkeypatch):
    from rich.console import Console

    monkeypatch.setattr(progress, "Console", lambda: Console(force_terminal=True, width=100))
    stop_after(monkeypatch, 3)
    answer = launch(f"--workdir={tmp_path / 'run'}", *TINY, "--config.seed=5")
    assert answer.code == 0 and "compiling" in answer.out
    assert all(word in answer.out for word in ("teacher", "student_alone", "val accuracy", "loss", "stopped by a signal"))


def test_without_a_name_the_run_lies_in_runs(run, tmp_path):
    command = [sys.executable, ROOT / "launch/main.py", *TINY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "runs/quickstart/summary.json").is_file() and "kept in runs/quickstart" in done.stdout
