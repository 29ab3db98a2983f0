"""A teacher, a student alone, a student with label smoothing and a distilled student, five seeds each.

    python launch/main.py --config=configs/quickstart.py --workdir=runs/quickstart

The setting: the teacher knows all labels, the students 20 a class. The student alone learns from those images; the distilled one
from all training images, most without a label, through its teacher. Expect on digits 94.0 alone, 95.4 with smoothing, 98.5
distilled, in about a minute on two cores. `--config.data.source=npz:<path>` or `folder:<dir>` takes your own images,
`--config.labels_per_class=0` gives students all labels.
"""

from ml_collections import ConfigDict

from configs import offline
from configs.offline import METHODS, build

__all__ = ["METHODS", "build", "get_config"]


def get_config(variant: str = "") -> ConfigDict:
    return offline.get_config(variant, labels_per_class=20, smoothing=0.1)
