"""A student without its teacher's data by any data-free method, on handwritten digits.

    python launch/main.py --config=configs/data_free.py:method=dafl --workdir=runs/dafl

A generator makes images for the frozen teacher, and the student imitates the teacher on them; `plots/student_images.png` shows
what it saw. `steps_per_epoch` counts steps of the generator.
"""

from functools import partial
from typing import Any

from ml_collections import ConfigDict

from kdjax import methods
from kdjax.experiment import data_free, sections
from kdjax.experiment.entry import Entry, method_section


def train_dafl(c):
    """One generator beside one student."""
    return methods.dafl(c.student, c.teacher, c.generator, c.tx, c.generator_tx, **c.options)


METHODS = {"dafl": Entry(methods.dafl, train_dafl)}


def get_config(variant: str = "", **options: Any) -> ConfigDict:
    """The config, with other defaults of a method's options."""
    chosen = sections.variant(variant, method="dafl", student="conv_net", teacher="conv_net")
    return ConfigDict(
        {
            **sections.run_section(seeds=3),
            "data": sections.data_section("digits", batch=128, val_fraction=0.0),
            **sections.teacher_section(),
            "teacher_training": sections.training_section(
                chosen["teacher"], widths=(32, 64, 128), epochs=40, optimiser=sections.sgd_section(0.1)
            ),
            "student_training": sections.training_section(
                chosen["student"], widths=(16, 32, 64), epochs=30, optimiser=sections.sgd_section(0.1)
            ),
            "generator": {"features": 32, "optimiser": sections.adam_section(1e-3, kind="constant", b1=0.5)},
            "steps_per_epoch": 10,  # generator steps; each is followed by method.student_steps student steps
            "method": method_section(chosen["method"], METHODS, **options),
        }
    )


build = partial(data_free.build, table=METHODS)
