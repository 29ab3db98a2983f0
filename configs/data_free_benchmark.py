"""The table of data-free methods: a student by each, without an image of the teacher's data, beside students that see some.

    python launch/main.py --config=configs/data_free_benchmark.py --workdir=runs/data_free
    python launch/main.py --config=configs/data_free_benchmark.py:methods=dafl/dfq/cmi --workdir=runs/three

`methods=` takes names between slashes; by default all of `configs/data_free.py`. Teacher, student, generator, optimisers and the
number of student steps are the same for all of them, tuned for none; their options are in `config.methods.<name>`. Beside them
stand (`references`) the student alone, one taught on the training images, one taught on noise and, where `other` names a set, one
taught on images of that set.
"""

from functools import partial

from ml_collections import ConfigDict

from configs import data_free, offline
from configs.data_free import METHODS
from kdjax.experiment import data_free as experiment


def get_config(variant: str = "") -> ConfigDict:
    config = data_free.get_config(variant, names=tuple(METHODS))
    config.references = ("student_alone", "with_data", "noise")
    config.other = ""  # a set as of data.source, for the reference "other_images"
    config.reference_temperature = 4.0
    config.sweep = ""
    return config


build = partial(experiment.build, table=METHODS, objectives=offline.METHODS)
