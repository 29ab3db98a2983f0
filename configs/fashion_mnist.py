"""Fashion-MNIST through TFDS: a teacher, a student alone and a distilled student, three seeds each, with all labels.

    python launch/main.py --config=configs/fashion_mnist.py --workdir=runs/fashion_mnist --config.data.dir=~/tensorflow_datasets

`data.dir` holds the prepared set, `fashion_mnist/3.0.1/` with files of the format array_record. A tenth of the training images
chooses the learning rate of the student alone; results are those of the last epoch on the 10,000 test images.

Expect, with all labels, teacher 91.5, student alone 87.0, distilled 86.4: in ten epochs nothing is gained. With
`--config.labels_per_class=100` students know a hundred labels a class, and the distilled one sees all images: alone 79.4,
distilled 86.0.
"""

from ml_collections import ConfigDict

from configs.offline import METHODS, build
from kdjax.experiment import sections
from kdjax.experiment.entry import method_section

__all__ = ["METHODS", "build", "get_config"]


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, method="kd", student="conv_net", teacher="conv_net")
    return ConfigDict(
        {
            **sections.run_section(seeds=3),
            "data": sections.data_section("tfds:fashion_mnist", batch=128, val_fraction=0.1),
            **sections.students_section(baseline_rates=sections.rates_for(chosen["student"], 0.1, 0.2, 0.5)),
            **sections.teacher_section(),
            **sections.teachers_section(),
            "cache": sections.cache_section(),
            "teacher_training": sections.training_section(
                chosen["teacher"], widths=(32, 64, 128), epochs=10, optimiser=sections.sgd_section(0.1)
            ),
            "student_training": sections.training_section(
                chosen["student"], widths=(4, 8, 16), epochs=10, optimiser=sections.sgd_section(0.2)
            ),
            "method": method_section(chosen["method"], METHODS),
        }
    )
