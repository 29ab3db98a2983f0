"""The CIFAR benchmark's protocol, as in the authors' scripts."""

from typing import Any

import pytest
from launching import write_npz

from configs import cifar10, cifar100
from kdjax.core import InputError
from kdjax.train.devices import find_devices
from launch.run import cli
from launch.run.rehearsal import rehearse
from launch.table import protocol

MEAN, STD = [0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]


def trained(variant):
    """Rate, Nesterov, epochs and epochs of the drops of the student; then the rates of its first stage and of the teacher."""
    config: Any = cifar100.get_config(variant)
    own = config.student_training
    drops = [round(drop * own.epochs, 6) for drop in own.optimiser.drops]
    first = config.method.get("first", {}).get("learning_rate")
    return (
        own.optimiser.learning_rate,
        own.optimiser.nesterov,
        own.epochs,
        first,
        config.teacher_training.optimiser.learning_rate,
    ), drops


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [
        ("", (0.05, False, 240, None, 0.05)),
        ("student=shufflenet_v1", (0.01, False, 240, None, 0.05)),
        ("student=shufflenet_v2,method=crd+kd", (0.01, False, 240, None, 0.05)),
        ("student=mobilenet_v2_half,teacher=vgg13", (0.01, False, 240, None, 0.05)),
        ("student=vgg8,teacher=shufflenet_v2", (0.05, False, 240, None, 0.01)),
        ("student=shufflenet_v1,method=ab", (0.01, False, 240, 0.0, 0.05)),  # 0: the student's
        ("student=mobilenet_v2_half,method=fsp", (0.01, False, 240, 0.0, 0.05)),
        ("method=ft", (0.05, False, 240, 0.01, 0.05)),
        ("student=wrn,method=ft", (0.05, False, 240, 0.01, 0.05)),
        ("student=vgg8,method=ft", (0.05, False, 240, 0.0, 0.05)),
        ("student=shufflenet_v1,method=ft", (0.01, False, 240, 0.0, 0.05)),
        ("method=hsakd", (0.05, True, 240, 0.05, 0.05)),
        ("student=shufflenet_v1,method=hsakd", (0.01, True, 240, 0.05, 0.05)),
        ("method=mlkd", (0.025, False, 240, None, 0.05)),
        ("student=shufflenet_v1,method=mlkd", (0.01, False, 960, None, 0.05)),
        ("student=shufflenet_v2,method=mlkd", (0.01, False, 960, None, 0.05)),
        ("student=shufflenet_v1,teacher=wrn,method=mlkd", (0.01, False, 480, None, 0.05)),
        ("student=mobilenet_v2_half,teacher=vgg13,method=mlkd", (0.01, False, 480, None, 0.05)),
    ],
)
def test_rates_and_epochs_are_those_of_the_authors_scripts(variant, wanted):
    found, drops = trained(variant)
    assert found == wanted and drops == [150, 180, 210]


@pytest.fixture
def images(tmp_path):
    return write_npz(tmp_path / "tiny.npz", n=300, size=8, channels=3, classes=100)


def config_for(images, *words, file="configs/cifar100.py:student=conv_net,teacher=conv_net,method=dkd"):
    return cli.read_config(file, [f"--config.data.source=npz:{images}", *words])[1]


def test_an_epoch_keeps_its_last_batch_and_images_are_normalised_by_the_benchmark_s_constants(images):
    config = config_for(images)
    made = cifar100.build(config)
    for stage in made.stages.values():
        assert stage.sampler
        assert (stage.steps, stage.pace.block, stage.batch) == (240 * 5, 5, 64) and stage.sampler.rest == 300 - 4 * 64
        assert sum(len(stage.sampler.rows(0, step)) for step in range(5)) == 300 and stage.sampler.epoch_of(5) == 1
        for net in stage.nets.values():
            assert (net["mean"], net["std"]) == (MEAN, STD)
    rehearse(made.stages, find_devices(count=4))
    about = {"config": config.to_dict()}
    said = protocol.words(about, {}, ["student"])
    assert "batch 64, an epoch ends with the smaller rest" in said
    assert "images normalised by mean (0.5071, 0.4867, 0.4408), deviation (0.2675, 0.2565, 0.2761)" in said
    told = protocol.protocol_of(about, {})
    assert told["data.keep_last_batch"] and list(told["data.mean"]) == MEAN


def test_both_are_options(images):
    made = cifar100.build(
        config_for(images, "--config.data.keep_last_batch=False", "--config.data.mean=()", "--config.data.std=()")
    )
    stage = made.stages["student"]
    assert stage.sampler and stage.steps == 240 * 4 and stage.sampler.rest == 0 and stage.nets["student"]["mean"] != MEAN
    other: Any = cifar10.get_config()
    assert other.data.mean == () and other.data.keep_last_batch


def test_a_run_that_does_not_know_the_options_has_the_protocol_of_one_that_has_them_off(images):
    off = config_for(images, "--config.data.keep_last_batch=False", "--config.data.mean=()", "--config.data.std=()").to_dict()
    old = {**off, "data": {k: v for k, v in off["data"].items() if k not in ("keep_last_batch", "mean", "std")}}
    told = [protocol.protocol_of({"config": config}, {}) for config in (off, old, config_for(images).to_dict())]
    assert not list(protocol.differences(*told[:2]))
    assert {name for name, *_ in protocol.differences(told[1], told[2])} == {"data.keep_last_batch", "data.mean", "data.std"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--config.data.mean=(0.5,)",), "--config.data.mean=.0.5,. is not accepted: expected a number for each of the 3 channels"),
        (("--config.data.std=(0.5,0.0,0.5)",), "--config.data.std=.0.5, 0.0, 0.5. is not accepted: expected numbers above 0"),
        (("--config.data.batch=400",), "--config.data.batch=400 is not accepted: expected 1 to 300, the training images"),
    ],
)
def test_options_that_cannot_be_are_refused(images, words, line):
    with pytest.raises(InputError, match=line):
        cifar100.build(config_for(images, *words))


@pytest.mark.parametrize(
    ("words", "count", "line"),
    [
        ((), 8, "ends an epoch with 44 images: expected a multiple of 8, the devices; --config.data.keep_last_batch=False drops"),
        (("--config.data.batch=23",), 1, "ends an epoch with 1 image: expected 2 or more; --config.data.keep_last_batch=False"),
        (
            ("--config.student_training.micro=8",), 1,
            r"micro=8 is not accepted: it must divide the rows of a batch, \[44\], in the last batch of an epoch; --config.data",
        ),
    ],
)  # fmt: skip
def test_a_last_batch_that_cannot_be_shared_out_is_refused_before_anything_is_trained(images, words, count, line):
    stages = cifar100.build(config_for(images, *words)).stages
    with pytest.raises(InputError, match=line):
        rehearse(stages, find_devices(count=count))
