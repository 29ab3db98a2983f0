"""The table of all methods: one teacher, the tuned student alone, and a student by each method, five seeds each.

    python launch/main.py --config=configs/benchmark.py --workdir=runs/benchmark --config.data.dir=~/tensorflow_datasets
    python launch/report.py runs/benchmark --out=runs/benchmark/report

`methods=` takes names and sums between slashes, `configs/benchmark.py:methods=kd/dkd/crd+kd`; by default all that this student
and teacher can be taught with. Each method keeps its published weights, in `config.methods.<name>`, and chooses its learning rate
by validation images, as the student alone does (`sweep`, `baseline_rates`; lower ones for the methods, whose weights of up to
thousands make for longer steps). Every student is compared with the student alone and with `kd`, paired by seed, at the last
epoch and at that of the best validation accuracy. Spans of epochs (warm-ups, first stages) are as long a part of the run as they
are of the published 240 epochs, and `crd` has 64 negatives.

The default is the smallest honest setting, for two cores: 5,000 images of Fashion-MNIST at half their side, all of whose labels
the teacher knows, and students 20 a class; of the other images they have their teacher's answers. (With all labels,
`--config.labels_per_class=0`, the student alone comes within two points of this teacher, which leaves little to gain.) For the
published one see `configs/cifar100.py`, whose data, nets and training sections can be set here too.
"""

from ml_collections import ConfigDict

from configs.offline import METHODS, build
from kdjax.experiment import sections
from kdjax.experiment.entry import methods_section

__all__ = ["METHODS", "build", "get_config"]

EPOCHS = 30
PUBLISHED_EPOCHS = 240  # what warm-ups and first stages are told for
# Of transformers, of maps of one size, of blocks to choose from, of smaller images: not for the nets and images of the default. And
# those that came after its table.
OTHERS = (
    "ackd", "cakd", "deit", "fsp", "learning_styles", "pixel", "pixel_chain", "proc_kd", "pursuhint", "sokd", "tinymim",
)  # fmt: skip
NAMES = (*(name for name in METHODS if name not in OTHERS), "crd+kd")


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, methods="/".join(NAMES), student="conv_net", teacher="conv_net")
    data = sections.data_section("tfds:fashion_mnist", batch=64, val_fraction=0.1, image_size=14)
    return ConfigDict(
        {
            **sections.run_section(seeds=5, evaluate_epochs=2, save_epochs=6),
            "test_curve": True,
            "data": {**data, "train_images": 5000},
            **sections.students_section(
                labels_per_class=20,
                baseline_rates=sections.rates_for(chosen["student"], 0.2, 0.4, 0.8, 1.6),
                sweep="learning_rate=" + ",".join(map(str, sections.rates_for(chosen["student"], 0.01, 0.04, 0.16))),
            ),
            **sections.teacher_section(),
            **sections.teachers_section(),
            "teacher_training": sections.training_section(
                chosen["teacher"], widths=(16, 32, 64), epochs=20, optimiser=sections.sgd_section(0.1)
            ),
            "student_training": sections.training_section(
                chosen["student"], widths=(4, 8, 16), epochs=EPOCHS, optimiser=sections.sgd_section(0.2)
            ),
            "methods": methods_section(tuple(chosen["methods"].split("/")), METHODS, share=EPOCHS / PUBLISHED_EPOCHS, negatives=64),
        }
    )
