"""Runs with a teacher from outside: its weights, its normalisation, its records."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import TINY
from safetensors.numpy import save_file

from configs import quickstart
from kdjax import augment, core, data, evaluate, models
from kdjax.train.devices import find_devices
from kdjax.train.load import read_run
from launch.run import cli
from launch.run.rehearsal import rehearse
from tests.golden.parity.make import weight

SHORT = (*TINY, "--config.student_training.epochs=1")


def read(folder, name):
    return json.loads((folder / name).read_text())


def loss(net, params, stats):
    test = data.load("digits").test
    batch = test.read(np.arange(test.size))
    taps, _ = net.apply(params, stats, augment.as_float(batch["image"]), train=False)
    return float(evaluate.negative_log_likelihood(taps["logits"], batch["label"]).mean())


def test_a_file_of_kdjax_teaches_as_the_run_it_came_from(launch, run, tmp_path):
    specification, params, stats = read_run(run[0])
    file = tmp_path / "teacher.safetensors"
    models.write_weights(file, params, stats, specification)
    students = []
    for name, teacher in {"a": run[0], "b": file}.items():
        answer = launch(f"--workdir={tmp_path / name}", f"--config.teacher={teacher}", *SHORT)
        assert answer.code == 0, answer
        students.append(read(tmp_path / name, "summary.json")["results"]["student/test_nll"]["values"])
    assert students[0] == students[1]
    record = read(tmp_path / "b", "config.json")["teacher"]
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest() and record["format"] == "kdjax"


@pytest.mark.parametrize("options", [(), ("--config.teacher_mean=0.2", "--config.teacher_std=0.5")])
def test_weights_of_pytorch_with_a_normalisation_of_their_own(launch, options, tmp_path):
    net = models.resnet8(10)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32))
    blank = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    state = {name: weight(name, x.shape) for name, x in models.to_pytorch("resnet8", *blank).items()}
    save_file({f"module.{name}": x for name, x in state.items()}, tmp_path / "net.pth")
    params, stats = models.from_pytorch("resnet8", state, *blank)
    words = ("--config=configs/quickstart.py:teacher=resnet8", *(w for w in SHORT if "teacher_training.net" not in w))
    answer = launch(*words, f"--workdir={tmp_path / 'run'}", f"--config.teacher={tmp_path / 'net.pth'}", *options)
    assert answer.code == 0, answer
    pixels = data.load("digits", val_fraction=0.1).train
    pixels = pixels.read(np.arange(pixels.size))["image"] / 255
    mean, std = (0.2, 0.5) if options else (round(float(pixels.mean()), 4), round(float(pixels.std()), 4))
    found = read(tmp_path / "run", "summary.json")["results"]["teacher/test_nll"]["values"]
    assert found == [pytest.approx(loss(core.normalised(net, mean, std), params, stats), rel=1e-4)]
    assert read(tmp_path / "run", "config.json")["teacher"]["format"] == "safetensors"


def test_an_encoder_without_classes_teaches_by_its_relations_alone(tmp_path):
    specification = {"name": "vit", "patch": 4, "width": 8, "depth": 2, "heads": 2, "classes": 0}
    models.write_weights(
        tmp_path / "mae.safetensors", *models.build(specification).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))), specification
    )
    words = (f"--config.teacher={tmp_path / 'mae.safetensors'}",)
    _, config = cli.read_config("configs/quickstart.py:method=tinymim,student=vit", words)
    assert list(quickstart.build(config).stages) == ["student_alone", "student_smoothed", "student_first", "student"]
    for method in ("rkd", "rkd+pkt"):
        stages = quickstart.build(cli.read_config(f"configs/quickstart.py:method={method}", words)[1]).stages
        rehearse({"student": stages["student"]}, find_devices(count=1))
    asking = quickstart.build(cli.read_config("configs/quickstart.py:method=kd", words)[1]).stages["student"]
    with pytest.raises(
        core.InputError, match=r"^the objective asks for 'logits', which is not there; .*; teacher: tokens, block1, "
    ):
        rehearse({"student": asking}, find_devices(count=1))
    _, config = cli.read_config("configs/quickstart.py:method=mlkd", words)
    with pytest.raises(core.InputError, match="it holds an encoder without classes"):
        quickstart.build(config)
