import json

import jax
import numpy as np
import pytest
from tiny import TEST, assert_same, linear, run, sgd, stage

from kdjax import methods, models
from kdjax.augment import as_float
from kdjax.core import Frozen, InputError
from kdjax.train import load, run_stages
from kdjax.train.start import begin, read_start
from kdjax.train.teacher import read_teacher

SPECIFICATION = {"name": "conv_net", "widths": [4], "classes": 3, "mean": [0.5], "std": [0.25]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with two stages of two members; the second one's net is not ours."""
    folder = tmp_path_factory.mktemp("run")
    stages = {
        "teacher": stage(methods.supervised(models.build(SPECIFICATION), sgd()), members=2, nets={"network": SPECIFICATION}),
        "own": stage(methods.supervised(linear(), sgd()), steps=2),
    }
    results = run_stages(stages, run(folder))
    (folder / "config.json").write_text(json.dumps({"stages": list(stages)}))
    return folder, results["teacher"]


def test_a_network_comes_back_with_its_weights(folder):
    path, result = folder
    for i in range(2):
        net, params, stats = load(path, "teacher", member_number=i)
        assert_same(params, jax.tree.map(lambda x, i=i: x[i], result.weights["network"]["params"]))
        rows = TEST.read(np.arange(TEST.size))
        logits = net.apply(params, stats, as_float(jax.numpy.asarray(rows["image"])), train=False)[0]["logits"]
        right = 100 * np.mean(np.argmax(logits, -1) == rows["label"])
        assert right == pytest.approx(result.measures["test_accuracy"][i])


def test_every_network_of_a_stage_comes_back_a_generator_too(tmp_path):
    maker = {"name": "generator", "size": 4, "channels": 1, "features": 2, "latent": 3}
    plain, nets = models.build(SPECIFICATION), {"student": SPECIFICATION, "generator": maker}
    method = methods.dafl(plain, plain, models.build(maker), sgd(), sgd(), latent=3, student_steps=1)
    teacher = Frozen(*plain.init(jax.random.key(1), np.zeros((1, 4, 4, 1))), "teacher")
    only = stage(method, steps=2, batch=4, source=None, nets=nets, given=lambda results: {"teacher": teacher})
    result = run_stages({"student": only}, run(tmp_path))["student"]
    (tmp_path / "config.json").write_text(json.dumps({"stages": ["student"], "data": {"shape": [4, 4, 1]}}))
    for name in nets:
        net, params, stats = load(tmp_path, network=name)
        assert_same(params, jax.tree.map(lambda x: x[0], result.weights[name]["params"]))
    image = net.apply(params, stats, jax.random.normal(jax.random.key(0), (5, 3)), train=False)[0]["image"]
    assert image.shape == (5, 4, 4, 1) and 0 <= image.min() < image.max() <= 1
    assert_same(load(tmp_path)[1], load(tmp_path, network="student")[1])  # what is shipped
    teachers = {part: read_teacher(tmp_path, SPECIFICATION, (4, 4, 1), part=part) for part in ("", "student", "generator")}
    assert_same(teachers["generator"].params, params)
    assert teachers["generator"].specification["name"] == "generator"
    assert teachers[""].frozen().source == teachers["student"].frozen().source != teachers["generator"].frozen().source
    begun = read_start(tmp_path, "generator", maker, (4, 4, 1), part="generator")
    state = begin(method, method.init(jax.random.key(5), {"index": np.arange(4)}, {"teacher": teacher}), begun)
    assert_same(state.generator.params, params)
    with pytest.raises(InputError, match=r"network 'critic' is not in .*; accepted: .*generator"):
        read_teacher(tmp_path, SPECIFICATION, (4, 4, 1), part="critic")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"stage": "techer"}, "stage 'techer' is not in .*; accepted: teacher, own"),
        ({"stage": "teacher", "network": "student"}, "network 'student' is not in .*teacher; accepted: network"),
        ({"stage": "teacher", "member_number": 2}, "member_number=2 is not accepted: the run has members 0 to 1"),
        ({"stage": "teacher", "member_number": -1}, "member_number=-1 is not accepted"),
        ({}, "network 'network' in .*own is not one of kdjax's own"),
    ],
)
def test_what_is_not_there_is_refused(folder, options, line):
    with pytest.raises(InputError, match=line) as info:
        load(folder[0], **options)
    assert "\n" not in str(info.value)


def test_a_folder_without_a_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=f"{path} holds no finished run"):
            load(path)
    (tmp_path / "models").mkdir()
    with pytest.raises(InputError, match="holds no finished run"):
        load(tmp_path)
    for text in ("{", "[]", "{}"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match=r"config.json is damaged"):
            load(tmp_path)
    assert not (tmp_path / "missing").exists()


def test_damaged_weights_are_refused(folder, tmp_path):
    import shutil

    shutil.copytree(folder[0], tmp_path / "run")
    (tmp_path / "run" / "models" / "teacher" / "0" / "manifest" / "metadata").write_bytes(b"")
    with pytest.raises(InputError, match="checkpoint teacher/0 is refused"):
        load(tmp_path / "run", "teacher")
