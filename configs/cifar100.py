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

from ml_collections import ConfigDict

from configs import _distillation as distillation
from configs import _methods
from configs import _published as authors
from configs import _sections as sections

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


def get_config(
    variant: str = "", source: str = "npz:cifar100.npz", mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD
) -> ConfigDict:
    chosen = sections.variant(variant, method="kd", student="resnet8x4", teacher="resnet32x4")
    changed = _methods.published(**chosen)
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
            "teacher_training": authors.training_section(chosen["teacher"]),
            "student_training": authors.training_section(chosen["student"], **changed),
            "method": _methods.section(chosen["method"], first=first),
        }
    )


build = distillation.build
