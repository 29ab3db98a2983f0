"""How the authors train on CIFAR-100: the benchmark's optimiser, and for `configs/_methods.py` what differs from it.

The benchmark, in RepDistiller's scripts and in mdistiller's: SGD with momentum 0.9 and weight decay 5e-4, batch 64, 240 epochs, the
rate divided by ten after 150, 180 and 210. What differs is returned by name: `epochs`, an option of the optimiser, and under
`first` an option of how a first stage is trained.
"""

from typing import Any

from configs import _sections as sections

EPOCHS, DROPS = 240, (150, 180, 210)
LIGHT = ("mobilenet_v2", "mobilenet_v2_half", "shufflenet_v1", "shufflenet_v2")


def rate(net: str) -> float:
    """The benchmark's learning rate for a net, as a student and as a teacher."""
    return 0.01 if net in LIGHT else 0.05


def training_section(net: str, *, epochs: int = EPOCHS, learning_rate: float = 0.0, **options: Any) -> dict:
    """One network and how the benchmark trains it, or what an author does instead; drops stay at their epochs."""
    drops = tuple(epoch / epochs for epoch in DROPS)
    optimiser = sections.sgd_section(learning_rate or rate(net), kind="steps", drops=drops, **options)
    return sections.training_section(net, epochs=epochs, optimiser=optimiser)


def as_benchmark(student: str, teacher: str) -> dict:
    """Nothing differs."""
    return {}


def ft(student: str, teacher: str) -> dict:
    """RepDistiller's helper/pretrain.py: a ResNet's or WRN's paraphraser is trained at 0.01, others at the student's rate."""
    return {} if student.startswith(("resnet", "wrn")) else {"first": {"learning_rate": 0.0}}


def hsakd(student: str, teacher: str) -> dict:
    """HSAKD's train_*_cifar.py: Nesterov; a teacher's branches at the teacher's rate, whatever the student is."""
    return {"nesterov": True, "first": {"learning_rate": rate(teacher)}}


def mlkd(student: str, teacher: str) -> dict:
    """Multi-Level-Logit-Distillation's configs/cifar100/ours: half the rate; light nets two or four times as long."""
    if student not in LIGHT:
        return {"learning_rate": 0.025}
    long = student.startswith("shufflenet") and not teacher.startswith("wrn")
    return {"learning_rate": 0.01, "epochs": 960 if long else 480}
