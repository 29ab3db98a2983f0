"""A teacher, a student alone, a student with label smoothing and a distilled student, five seeds each.

    python launch/main.py --config=configs/quickstart.py --workdir=runs/quickstart

The setting: the teacher knows all labels, the students 20 a class. The student alone learns from those images; the distilled one
from all training images, most without a label, through its teacher. Expect on digits 94.0 alone, 95.4 with smoothing, 98.5
distilled, in about a minute on two cores. `--config.data.source=npz:<path>` or `folder:<dir>` takes your own images,
`--config.labels_per_class=0` gives students all labels.
"""

from ml_collections import ConfigDict

from configs import _distillation as distillation
from configs import _methods
from configs import _sections as sections


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, method="kd", student="conv_net", teacher="conv_net")
    return ConfigDict(
        {
            **sections.run_section(seeds=5),
            "data": sections.data_section("digits", batch=64, val_fraction=0.1),
            **sections.students_section(
                labels_per_class=20, baseline_rates=sections.rates_for(chosen["student"], 0.1, 0.5, 2.0, 5.0), smoothing=0.1
            ),
            **sections.teacher_section(),
            **sections.teachers_section(),
            "cache": sections.cache_section(),
            "teacher_training": sections.training_section(
                chosen["teacher"], widths=(32, 64, 128), epochs=20, optimiser=sections.sgd_section(0.1)
            ),
            "student_training": sections.training_section(
                chosen["student"], widths=(8, 16), epochs=30, optimiser=sections.sgd_section(0.2)
            ),
            "method": _methods.section(chosen["method"]),
        }
    )


build = distillation.build
