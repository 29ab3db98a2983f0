"""Methods that are more than a loss: branches, small images and an assistant, a learned augmentation."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import BENCHMARK, TINY, call
from PIL import Image

import kdjax
from configs import quickstart
from kdjax.data import load
from launch import predict

METHODS = "--config=configs/benchmark.py:methods=hsakd/pixel_chain"
SMALL = (
    *BENCHMARK,
    "--config.student_training.epochs=2",
    "--config.methods.hsakd.first.epochs=1",
    "--config.methods.pixel_chain.first.epochs=1",
)


@pytest.fixture(scope="module")
def systems(launch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("systems") / "run"
    answer = launch(METHODS, f"--workdir={folder}", *SMALL)
    assert answer.code == 0, answer.err
    return folder, json.loads((folder / "summary.json").read_text())


def test_stages_and_their_steps(systems):
    _, summary = systems
    each = summary["steps"]["teacher"]
    assert summary["steps"] == {
        "teacher": each, "student_alone": 2 * each, "hsakd_first": each, "hsakd": 2 * each, "pixel_chain_first": each,
        "pixel_chain": 2 * each,
    }  # fmt: skip
    results = {name: len(found["values"]) for name, found in summary["results"].items() if name.endswith("/test_accuracy")}
    assert results == {
        "teacher/test_accuracy": 1, "student_alone/test_accuracy": 2, "hsakd/test_accuracy": 2,
        "pixel_chain_first/test_accuracy": 1, "pixel_chain/test_accuracy": 2,
    }  # fmt: skip


def test_the_augmenter_has_epochs_of_its_own():
    config = quickstart.get_config("method=tst")
    config.student_training.epochs, config.method.phases, config.method.length = 8, (0.25, 0.5), 0.125
    stages = quickstart.build(config).stages
    assert 8 * stages["student"].steps == 10 * stages["student_alone"].steps


def digits():
    test = load("digits").test
    return jnp.asarray(test.read(np.arange(test.size))["image"], jnp.float32) / 255, test.labels()


@pytest.mark.parametrize("stage", ["hsakd", "pixel_chain"])
def test_what_is_shipped_is_a_student_that_was_measured(systems, stage):
    folder, summary = systems
    images, labels = digits()
    net, params, stats = kdjax.load(folder, stage, member_number=1)
    right = np.argmax(net.apply(params, stats, images, train=False)[0]["logits"], -1) == labels
    assert np.mean(right) * 100 == pytest.approx(summary["results"][f"{stage}/test_accuracy"]["values"][1])
    alone, *_ = kdjax.load(folder, "student_alone")[1:]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, alone)  # no branch, no head


def test_small_images_are_all_that_the_student_sees(systems):
    images, _ = digits()
    net, params, stats = kdjax.load(systems[0], "pixel_chain")
    taps, _ = net.apply(params, stats, images[:2], train=False)
    assert taps["stage1"].shape[1:3] == (4, 4)


def test_the_teacher_is_the_one_that_was_trained_with_branches_behind(systems):
    folder, _ = systems
    images, _ = digits()
    teacher, branched = kdjax.load(folder, "teacher"), kdjax.load(folder, "hsakd_first")
    for before, after in zip(teacher[1:], branched[1:], strict=True):
        jax.tree.map(np.testing.assert_array_equal, before, after["net"])
    taps, _ = branched[0].apply(*branched[1:], images[:3], train=False)
    assert taps["joint1"].shape == (3, 40)


def test_images_are_classified_with_a_student_of_small_images(systems, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)).save(tmp_path / "x.png")
    answer = call(predict, systems[0], tmp_path / "x.png", "--stage=pixel_chain")
    assert answer.code == 0 and "x.png: " in answer.out, answer.err
    file = systems[0] / "export" / "hsakd_first" / "seed0.safetensors"
    assert call(predict, file, tmp_path / "x.png").code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("hsakd --config.cache.views=1", "--config.cache.views=1 is not accepted: hsakd asks a teacher about other images"),
        ("pixel_chain --config.cache.views=1", "--config.cache.views=1 is not accepted: pixel_chain asks"),
        ("hsakd --config.student_training.net.widths=(4,4)", "student has 2 exits but teacher has 1"),
        ("hsakd --config.teacher_precision=int8", "teacher_precision='int8' is not accepted: expected '' for float32, with hsakd"),
        ("hsakd --config.teachers=2", "net 'ensemble' has no branches; accepted: "),
        ("pixel --config.method.factor=9", "factor=9 is not accepted: expected at most 8, the side of the images"),
        ("pixel --config.method.layer=stage5", "tap 'stage5' is not one of the student's"),
        ("tst --config.method.phases=(0.5,0.2)", "phases=(0.5, 0.2) is not accepted"),
        ("tst --config.sweep=length=0.1,0.2", "length cannot be swept"),
        ("sokd --config.cache.views=1", "--config.cache.views=1 is not accepted: sokd asks a teacher about other images"),
        ("learning_styles --config.method.style=X/P", "style='X/P' is not accepted: expected <teacher to the first>"),
        ("tst+kd", "method 'tst' cannot be a part of a sum"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(launch, tmp_path, words, told):
    method, *more = words.split()
    answer = launch(f"--config=configs/quickstart.py:method={method}", f"--workdir={tmp_path / 'run'}", *TINY, *more)
    assert answer.code == 2 and told in answer.err and len(answer.err.strip().splitlines()) == 1, answer.err
    assert not (tmp_path / "run").exists()
