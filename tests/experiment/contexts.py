"""What stages are made from, on 30 black images."""

import jax
import numpy as np

from configs import quickstart
from configs.offline import METHODS
from kdjax.core import Frozen
from kdjax.data import Dataset, Source
from kdjax.experiment.distillation import student_stages
from kdjax.experiment.entry import Entry, method_section
from kdjax.experiment.student import StudentContext, beside_teacher
from kdjax.experiment.teaching import Teaching

BLACK = np.zeros((30, 8, 8, 1), np.uint8)
ROWS = Source(len(BLACK), lambda rows: {"image": BLACK[rows], "index": rows}, lambda: np.zeros(len(BLACK), np.int32))
STUDENT = {"name": "conv_net", "widths": [3, 4], "classes": 4, "dtype": "float32"}


def shared(student=STUDENT, shape=BLACK.shape[1:], **changed):
    """The fields of a context that no method decides."""
    config = quickstart.get_config()
    config.data.batch = 2
    dataset = Dataset(ROWS, ROWS, ROWS, 4, shape, (), "")
    training = {"epochs": 3, "micro": 1, "optimiser": config.student_training.optimiser.to_dict()}
    return {
        "config": config, "dataset": dataset, "training": training, "specification": student, "steps_per_epoch": 15,
        "source": ROWS, "members": 1, "axis_name": None, **changed,
    }  # fmt: skip


def teaching(net, **changed):
    """A teacher whose weights `results` hold."""
    return Teaching(net, {}, lambda results: {"teacher": results["teacher"]}, {}, **changed)


def context(teacher, entry=Entry(beside_teacher), settings=None, **more):
    return StudentContext(
        name="student", method="kd", entry=entry, settings=settings or {}, teaching=teaching(teacher), **shared(**more)
    )


def stages_of(method, teacher, student=STUDENT, separate=(), **changed):
    """The stages of a method of configs/offline.py."""
    section = method_section(method, METHODS, **changed)
    return student_stages("student", section, METHODS, teaching(teacher, separate=separate), shared(student))


def weights_of(net):
    return Frozen(*net.init(jax.random.key(0), np.zeros((2, 8, 8, 1), np.float32)), source="of a test")
