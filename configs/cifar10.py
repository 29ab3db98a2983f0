"""CIFAR-10 with the budget of the CIFAR-100 benchmark: 240 epochs, batch 64, SGD 0.05, drops at 150, 180 and 210.

    python launch/main.py --config=configs/cifar10.py:teacher=resnet56,student=resnet20 \\
        --workdir=runs/cifar10 --config.data.source=npz:cifar10.npz

The npz holds `train_images` uint8 [50000, 32, 32, 3], `train_labels`, `test_images`, `test_labels`. Rates by net
and method, and the last batch of an epoch, are those of `configs/cifar100.py`; normalisation is measured on the training images.
"""

from ml_collections import ConfigDict

from configs import cifar100
from configs.cifar100 import METHODS, build

__all__ = ["METHODS", "build", "get_config"]


def get_config(variant: str = "") -> ConfigDict:
    return cifar100.get_config(variant, source="npz:cifar10.npz", mean=(), std=())
