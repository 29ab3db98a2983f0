"""The protocol of Self-KD-Lib, by its scripts main.py and main_mixskd_cifar.py."""

from typing import Any

import pytest

from configs import cifar100_self


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [
        ("", ("preact_resnet18", 128, 200, ())),
        ("method=mixskd", ("resnet18", 64, 205, ())),
        ("method=mixskd,student=preact_resnet18", ("preact_resnet18", 128, 200, ())),
        ("method=byot", ("preact_resnet18", 128, 200, (2, 1, 1))),
        ("method=dks,student=resnet18", ("resnet18", 64, 205, (2, 1, 2))),
        ("method=dks,student=resnet8", ("resnet8", 128, 200, ())),
    ],
)
def test_the_net_brings_its_budget(variant, wanted):
    config: Any = cifar100_self.get_config(variant)
    own, optimiser = config.student_training, config.student_training.optimiser
    assert (own.net.name, config.data.batch, own.epochs, config.exits.blocks) == wanted
    assert [round(drop * own.epochs, 6) for drop in optimiser.drops] == [105, 155]
    rates = (optimiser.learning_rate, optimiser.nesterov, optimiser.weight_decay, optimiser.warmup_epochs)
    assert rates == (0.1, True, 5e-4, 5)


def test_weights_are_those_of_the_library():
    config: Any = cifar100_self.get_config("method=byot")
    assert (config.method.weight, config.method.feature_weight, config.method.features) == (1.0, 0.05, "mean")
    config = cifar100_self.get_config("method=frskd")
    assert not config.method.stop_teacher and config.method.weight == 2.0
