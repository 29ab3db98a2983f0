"""What plans are made from, on 30 black images."""

import numpy as np
from configs._setting import Setting

from kdjax import models
from kdjax.data import Dataset, Source

BLACK = np.zeros((30, 8, 8, 1), np.uint8)
ROWS = Source(len(BLACK), lambda rows: {"image": BLACK[rows]}, lambda: np.zeros(len(BLACK), np.int32))


def setting(student, teacher, options=None, stage=None, shape=BLACK.shape[1:]):
    """A Setting whose stages are what `stage` makes of them."""
    return Setting(
        name="student", options=options or {}, student=student, teacher=teacher, teacher_net={},
        given=lambda results: {"teacher": results["teacher"]}, separate=(), source=ROWS,
        dataset=Dataset(ROWS, ROWS, ROWS, 4, shape, (), ""), per_epoch=1, epochs=1, shape=shape,
        views=lambda keys, batch: batch, build=models.build, stage=stage or (lambda *args, **more: None),
    )  # fmt: skip
