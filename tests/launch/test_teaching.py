"""Stages on the way to a student, views of two kinds, and several teachers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import BENCHMARK, TINY

from configs import benchmark
from kdjax import models
from kdjax.core import jit_fast_compile
from kdjax.data import load
from kdjax.train import Result
from kdjax.train.load import read_run
from launch.run import cli

FEW = (
    *BENCHMARK,
    "--config.student_training.epochs=1",
)
FIRST = ("--config.methods.ab.first.epochs=2", "--config.methods.ft.first.epochs=1")
TWO = (*TINY, "--config.teacher_training.epochs=1", "--config.student_training.epochs=1", "--config.teachers=2")


def read(folder):
    return json.loads((folder / "summary.json").read_text())


def accuracy(logits):
    test = load("digits").test
    return float(np.mean(np.argmax(logits, -1) == test.labels()) * 100)


def logits_of(net, params, stats):
    test = load("digits").test
    images = jnp.asarray(test.read(np.arange(test.size))["image"], jnp.float32) / 255
    return net.apply(params, stats, images, train=False)[0]["logits"]


@pytest.fixture(scope="module")
def staged(launch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged") / "run"
    answer = launch("--config=configs/benchmark.py:methods=ab/ft/mlkd", f"--workdir={folder}", *FEW, *FIRST)
    assert answer.code == 0, answer.err
    return folder, read(folder)


def test_stages_on_the_way_have_their_own_epochs_and_no_results(staged):
    _, summary = staged
    steps = summary["steps"]
    assert list(steps) == ["teacher", "student_alone", "ab_first", "ab", "ft_first", "ft", "mlkd"]
    assert steps["ab_first"] == 2 * steps["ab"] and steps["ft_first"] == steps["ft"] == steps["mlkd"]
    assert not [key for key in summary["results"] if "_first/" in key]
    assert {"ab/test_accuracy", "ft/test_accuracy", "mlkd/test_accuracy"} <= set(summary["results"])


def test_a_first_stage_leaves_the_classifier_alone(staged):
    """It has not felt the weight decay, and the layers below have learned."""
    net, hinted, _ = read_run_of(staged[0], "ab_first", 1)
    began, _ = net.init(jax.random.fold_in(jax.random.key(1), 0), jnp.zeros((1, 8, 8, 1)))
    np.testing.assert_allclose(hinted["classifier"]["kernel"], began["classifier"]["kernel"], atol=1e-7)
    assert np.abs(hinted["stage1_conv"]["kernel"] - began["stage1_conv"]["kernel"]).max() > 1e-3


def test_the_next_stage_goes_on_from_the_same_member(staged):
    experiment = benchmark.build(cli.read_config("configs/benchmark.py:methods=ab/ft/mlkd", (*FEW, *FIRST))[1])
    stage = experiment.stages["ab"]
    weights = [read_run_of(staged[0], "ab_first", member)[1:] for member in range(2)]
    members = {
        part: jax.tree.map(lambda *xs: jnp.stack(xs), *(w[k] for w in weights)) for k, part in enumerate(("params", "stats"))
    }
    result = Result({"student": members}, {}, "", 0)
    batch = {"image": jnp.zeros((4, 8, 8, 1)), "label": jnp.zeros(4, jnp.int32), "index": jnp.arange(4)}
    state = stage.warm_start(jit_fast_compile(stage.method.init)(jax.random.key(0), batch, {}), result, 1)
    for found, wanted in zip((state.learner.params["student"], state.learner.stats["student"]), weights[1], strict=True):
        jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert stage.warm_start_from == "ab_first" and experiment.stages["ft_first"].members == 1


def test_strong_views_are_cut_and_changed_and_weak_ones_are_the_data_s(staged):
    config = cli.read_config("configs/benchmark.py:methods=mlkd", FEW)[1]
    stage = benchmark.build(config).stages["mlkd"]
    images = jnp.full((64, 8, 8, 1), 0.25)
    batch = stage.augment(jax.random.split(jax.random.key(0), 64), {"image": images})
    weak, strong = batch["views"]
    np.testing.assert_array_equal(weak, images)  # the digits' own augmentation is none
    assert strong.shape == images.shape and np.all(np.sum(strong == 0.5, (1, 2, 3)) >= 4)  # a quarter of the cut-out box, at least
    assert np.mean(np.any((strong != 0.25) & (strong != 0.5), (1, 2, 3))) > 0.3


def read_run_of(folder, stage, member):
    specification, params, stats = read_run(folder, stage, member_number=member)
    return models.build(specification), params, stats


@pytest.fixture(scope="module")
def streams(launch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams") / "run"
    answer = launch(f"--workdir={folder}", *TWO, "--config.teachers_combine=separate", "--config.teacher_weights=(3.0,1.0)")
    assert answer.code == 0, answer.err
    return folder, read(folder)


def test_every_teacher_is_measured_and_what_they_know_together(streams):
    folder, summary = streams
    each = [logits_of(*read_run_of(folder, "teacher", k)) for k in range(2)]
    results = {name: found["values"] for name, found in summary["results"].items()}
    assert results["teacher/test_accuracy"] == pytest.approx([accuracy(z) for z in each])
    assert results["teacher/test_ensemble_accuracy"] == pytest.approx([accuracy(0.75 * each[0] + 0.25 * each[1])] * 2)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (line,) = [x for x in lines if x["stage"] == "student"]
    parts = [np.array(line[name]) for name in ("cross_entropy", "distillation_teacher0", "distillation_teacher1")]
    np.testing.assert_allclose(line["loss"], 0.1 * parts[0] + 0.9 * (0.75 * parts[1] + 0.25 * parts[2]), rtol=1e-4)
    assert "2 seeds, separate" in summary["protocol"]["teacher"]


def test_teachers_from_files_are_each_measured_and_teach_as_those_trained_here(launch, streams, tmp_path):
    """By losses of their own from the same weights, from the same start, in the same order."""
    files = [streams[0] / "export" / "teacher" / f"seed{k}.safetensors" for k in range(2)]
    words = (f"--config.teacher={files[0]}, {files[1]}", "--config.teachers_combine=separate", "--config.teacher_weights=(3.0,1.0)")
    folder = tmp_path / "run"
    answer = launch(f"--workdir={folder}", *TWO[:-1], *words)
    assert answer.code == 0, answer.err
    before, after = ({name: x["values"] for name, x in summary["results"].items()} for summary in (streams[1], read(folder)))
    assert [after[f"teacher{k}/test_accuracy"][0] for k in range(2)] == pytest.approx(before["teacher/test_accuracy"])
    assert after["teacher/test_accuracy"][0] == pytest.approx(before["teacher/test_ensemble_accuracy"][0])
    assert after["student/test_accuracy"] == pytest.approx(before["student/test_accuracy"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--config.teachers=1000000", "--config.teachers=1000000 is not accepted: expected at most 256"),
        ("--config.teachers=0", "--config.teachers=0 is not accepted: expected a whole number, 1 or more"),
        ("--config.teachers_combine=vote", "--config.teachers_combine='vote' is not accepted: expected one of ensemble, separate"),
        (
            "--config.teachers=2 --config.teacher_weights=(1.0,)",
            "--config.teacher_weights=(1.0,) is not accepted: expected 2 numbers",
        ),
        ("--config.teachers=2 --config.teacher_weights=(1.0,-1.0)", "expected 2 numbers of at least 0, not all 0"),
        ("--config.teacher_weights=(1.0,1.0)", "--config.teacher_weights=(1.0, 1.0) is not accepted with one teacher: expected ()"),
        (
            "--config.teachers=2 --config.teacher=a.safetensors",
            "--config.teachers=2 is not accepted with --config.teacher=a.safetens",
        ),
        (
            "--config.teacher=a.safetensors,b.safetensors",
            "--config.teacher=a.safetensors is not accepted: a.safetensors is not there",
        ),
        (
            "--config=configs/quickstart.py:method=at --config.teachers=2",
            "the teacher's none; let each teacher have a loss of its own",
        ),
        (
            "--config=configs/quickstart.py:method=crd --config.teachers=2",
            "tap 'pooled' is not one of the teacher's",
        ),
        (
            "--config=configs/quickstart.py:method=mlkd --config.teachers=2 --config.teachers_combine=separate",
            "method 'mlkd' cannot be a part of a sum, nor a loss for each teacher; those that can: at, cakd",
        ),
        (
            "--config=configs/quickstart.py:method=ab --config.method.first.learning_rate=-1",
            "first.learning_rate=-1.0 is not accepted",
        ),
    ],
)
def test_what_teachers_cannot_be_is_one_line(launch, tmp_path, words, told):
    answer = launch(f"--workdir={tmp_path / 'run'}", *words.split())
    assert answer.code == 2 and told in answer.err and len(answer.err.strip().splitlines()) == 1, answer.err
    assert not (tmp_path / "run").exists()
