"""What `launch/benchmark.py steps` measures by name: configs with made-up images in the place of data."""

from typing import NamedTuple


class Workload(NamedTuple):
    """A config whose last stage is timed.

    Attributes:
      config: `<file>:<variant>` in `configs/`.
      images: made-up ones, `<height>x<width>x<channels>:<classes>`.
      words: overrides.
      peer: the same work in PyTorch: `"kd"`, `"byol"`, `"data_free"`; or `""`, there is none.
    """

    config: str
    images: str
    words: tuple[str, ...] = ()
    peer: str = ""


def _kd(student: str, teacher: str, *words: str, peer: str = "kd") -> Workload:
    """Distillation as CIFAR-100's benchmark has it, without augmentation, so that only the step is timed."""
    config = f"configs/cifar100.py:method=kd,student={student},teacher={teacher}"
    return Workload(config, "32x32x3:100", ("--config.seeds=1", "--config.data.augment=none", *words), peer)


_BATCH_512 = "--config.data.batch=512"

WORKLOADS = {
    "kd": _kd("resnet8x4", "resnet32x4"),
    "kd_512": _kd("resnet8x4", "resnet32x4", _BATCH_512),
    "kd_thin": _kd("resnet20", "resnet56"),
    "kd_thin_512": _kd("resnet20", "resnet56", _BATCH_512),
    "kd_wrn": _kd("wrn_16_2", "wrn_40_2", peer=""),
    "kd_vgg": _kd("vgg8", "vgg13", peer=""),
    "kd_mobile": _kd("mobilenet_v2_half", "resnet50", peer=""),
    "kd_augmented": _kd("resnet8x4", "resnet32x4", "--config.data.augment=crop_flip", peer=""),
    "kd_cached": _kd("resnet8x4", "resnet32x4", "--config.cache.views=1", peer=""),
    "kd_8_seeds": _kd("resnet8x4", "resnet32x4", "--config.seeds=8", peer=""),
    "kd_bfloat16": _kd("resnet8x4", "resnet32x4", "--config.precision=bfloat16", peer="kd"),
    "quickstart": Workload("configs/quickstart.py", "8x8x1:10", ("--config.seeds=1",)),
    "byol": Workload("configs/ssl.py:method=byol,setting=cifar10", "32x32x3:10", peer="byol"),
    "dafl": Workload("configs/data_free.py:method=dafl,setting=cifar10", "32x32x3:10", peer="data_free"),
}
