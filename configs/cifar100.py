"""The CIFAR-100 benchmark of Tian et al. (CRD, ICLR 2020): 240 epochs, batch 64, SGD 0.05, drops at 150, 180 and 210.

    python launch/main.py --config=configs/cifar100.py:method=kd,teacher=resnet32x4,student=resnet8x4 \\
        --workdir=runs/cifar100 --config.data.source=npz:cifar100.npz

The published table (last epoch, top-1 %): resnet32x4 79.42; resnet8x4 alone 72.50, KD 73.33; resnet56 72.34, resnet20 69.06,
KD 70.66. This is a matter of hours on one GPU, not of a laptop. `val_fraction` is 0 as in the benchmark: results are those of the
last epoch.
"""

from ml_collections import ConfigDict

from configs import _distillation as distillation
from configs import _methods
from configs import _sections as sections


def get_config(variant: str = "", source: str = "npz:cifar100.npz") -> ConfigDict:
    chosen = sections.variant(variant, method="kd", student="resnet8x4", teacher="resnet32x4")
    crd = sections.sgd_section(0.05, kind="steps", drops=(150 / 240, 180 / 240, 210 / 240))
    return ConfigDict(
        {
            **sections.run_section(seeds=3),
            "data": sections.data_section(source, batch=64, val_fraction=0.0, augmentation="crop_flip"),
            **sections.students_section(),
            **sections.teacher_section(),
            **sections.teachers_section(),
            "cache": sections.cache_section(),
            "teacher_training": sections.training_section(chosen["teacher"], epochs=240, optimiser=crd),
            "student_training": sections.training_section(chosen["student"], epochs=240, optimiser=crd),
            "method": _methods.section(chosen["method"]),
        }
    )


build = distillation.build
