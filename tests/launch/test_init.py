"""`--config.init`: any stage's network starts from weights of a run or a file."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import TINY

import kdjax
from configs import quickstart
from kdjax import models
from kdjax.core import InputError
from kdjax.experiment.start import recorded, started
from kdjax.models import to_pytorch, write_weights
from launch.run import cli
from tests.torch_file import torch_file

STUDENT = {"name": "conv_net", "widths": [4], "classes": 7}
QUICK = (*TINY, "--config.student_training.epochs=1", "--config.teacher_training.epochs=1")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A student of other classes."""
    place = tmp_path_factory.mktemp("file") / "student.safetensors"
    params, stats = models.build(STUDENT).init(jax.random.key(5), jnp.zeros((1, 8, 8, 1)))
    write_weights(place, params, stats, STUDENT)
    return place, params


def built(*words):
    config = cli.read_config("configs/quickstart.py", (*QUICK, *words))[1]
    return started(config, quickstart.build(config))


def test_a_path_alone_is_for_the_last_stage_and_others_are_named(file):
    path, _ = file
    starts = {name: stage.start for name, stage in built(f"--config.init={path}").stages.items() if stage.start}
    assert list(starts) == ["student"] and starts["student"][0].network == "student"
    experiment = built(f"--config.init=student_alone={path}, student/student={path}")
    assert [name for name, stage in experiment.stages.items() if stage.start] == ["student_alone", "student"]
    assert recorded(experiment)["student_alone/network"]["fresh"] == ["params/classifier/kernel", "params/classifier/bias"]
    assert not recorded(built())


def test_a_stage_that_goes_on_from_another_starts_there(file):
    config = cli.read_config("configs/quickstart.py:method=ab", (*QUICK, f"--config.init={file[0]}"))[1]
    experiment = started(config, quickstart.build(config))
    assert [name for name, stage in experiment.stages.items() if stage.start] == ["student_first"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("teachr={file}", "there is no stage 'teachr'; accepted: teacher, "),
        ("student/net={file}", "stage 'student' has no network 'net'; accepted: student"),
        ("student={file},student={file}", "is not accepted at 'student={file}': expected <run or file>"),
        ("student=", "is not accepted at 'student=': expected <run or file>"),
        ("{file}.gone", "is not accepted for student: {file}.gone is not there; accepted: a run's folder"),
        ("teacher={file}", "is not accepted for teacher: {file} is refused: params/stage1_conv/kernel is (3, 3, 1, 4) in it"),
    ],
)
def test_what_cannot_be_started_from_is_one_line(file, text, line):
    with pytest.raises(InputError) as info:
        built(f"--config.init={text.format(file=file[0])}")
    assert line.format(file=file[0]) in str(info.value) and "\n" not in str(info.value)


def test_what_is_told_of_a_file_names_the_options_of_the_config(tmp_path):
    net = models.resnet8(10)
    theirs = to_pytorch("resnet8", *net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))))
    (tmp_path / "two").write_bytes(torch_file({"a": theirs, "b": theirs}))
    (tmp_path / "ema").write_bytes(torch_file({"model": theirs, "model_ema": {k: x + 1 for k, x in theirs.items()}}))
    (tmp_path / "stem").write_bytes(torch_file({"conv1.weight": np.zeros((64, 1, 7, 7), np.float32)}))

    def outside(file, *words, net="resnet8"):
        config = cli.read_config(f"configs/quickstart.py:teacher={net}", (f"--config.teacher={tmp_path / file}", *words))[1]
        return quickstart.build(config).outside

    with pytest.raises(InputError, match=r"under 'a', 'b': expected one of them as --config.teacher_part=<name>$"):
        outside("two")
    with pytest.raises(InputError, match=r"; --config.teacher_training.net.stem=imagenet has such a one$"):
        outside("stem", net="resnet18")
    plain, averaged = outside("ema"), outside("ema", "--config.teacher_part=ema")
    assert plain.told == "the weights under 'model'; --config.teacher_part=model_ema takes the averaged ones"
    assert plain.sha256 == averaged.sha256 and plain.frozen().source != averaged.frozen().source
    np.testing.assert_allclose(averaged.params["bn"]["bias"], plain.params["bn"]["bias"] + 1)


def test_a_run_starts_there_and_says_so(launch, file, tmp_path):
    path, params = file
    rate = ("--config.student_training.optimiser.learning_rate=1e-12", "--config.student_training.optimiser.weight_decay=0.0")
    answer = launch(f"--workdir={tmp_path / 'run'}", *QUICK, *rate, f"--config.init={path}")
    assert answer.code == 0, answer.err
    assert (
        "student/student: starts from kdjax weights, sha256 " in answer.out
        and "with a new head, params/classifier/kernel" in answer.out
    )
    _, found, _ = kdjax.load(tmp_path / "run", "student", member_number=1)
    np.testing.assert_allclose(found["stage1_conv"]["kernel"], params["stage1_conv"]["kernel"], atol=1e-6)
    assert found["classifier"]["kernel"].shape == (4, 10)
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    assert about["init"]["student/student"]["format"] == "kdjax"
    sha256 = about["init"]["student/student"]["sha256"]
    assert (
        f"started from weights: student/student sha256 {sha256[:12]} with a new head"
        in (tmp_path / "run" / "report.md").read_text()
    )
