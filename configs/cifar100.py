"""The CIFAR-100 benchmark of Tian et al. (CRD, ICLR 2020): 240 epochs, batch 64, SGD 0.05, drops at 150, 180 and 210.

    python launch/main.py --config=configs/cifar100.py:method=kd,teacher=resnet32x4,student=resnet8x4 \\
        --workdir=runs/cifar100 --config.data.source=npz:cifar100.npz

The published table (last epoch, top-1 %): resnet32x4 79.42; resnet8x4 alone 72.50, KD 73.33; resnet56 72.34, resnet20 69.06,
KD 70.66. This is a matter of hours on one GPU, not of a laptop. `val_fraction` is 0 as in the benchmark: results are those of the
last epoch.

As in the benchmark, an epoch has 782 steps, the last one of the 16 images that are left (`data.keep_last_batch`), images of
students and teachers, also of RepDistiller's files, are normalised by its constants (`data.mean`, `data.std`), and light nets
(ShuffleNets, MobileNetV2) are trained at 0.01. What the authors of a method do otherwise (`hsakd`: Nesterov; `mlkd`: 0.025, light
nets for 480 or 960 epochs; `ft`: the rate of the paraphraser) is the default with that method; the student alone obeys it too.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.offline import METHODS, build
from kdjax.experiment import sections
from kdjax.experiment.entry import method_section

__all__ = ["METHODS", "build", "get_config"]

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
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


# What authors do otherwise than the benchmark, by name: epochs, options of the optimiser, and of a first stage under `first`.
AUTHORS = {"ft": ft, "hsakd": hsakd, "mlkd": mlkd}


def get_config(
    variant: str = "", source: str = "npz:cifar100.npz", mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD
) -> ConfigDict:
    chosen = sections.variant(variant, method="kd", student="resnet8x4", teacher="resnet32x4")
    authors = AUTHORS.get(chosen["method"])
    changed = authors(chosen["student"], chosen["teacher"]) if authors else {}
    first = changed.pop("first", {})
    data = sections.data_section(
        source, batch=64, val_fraction=0.0, augmentation="crop_flip", keep_last_batch=True, mean=mean, std=std
    )
    return ConfigDict(
        {
            **sections.run_section(seeds=3),
            "data": data,
            **sections.students_section(),
            **sections.teacher_section(),
            **sections.teachers_section(),
            "cache": sections.cache_section(),
            "teacher_training": training_section(chosen["teacher"]),
            "student_training": training_section(chosen["student"], **changed),
            "method": method_section(chosen["method"], METHODS, first=first),
        }
    )
