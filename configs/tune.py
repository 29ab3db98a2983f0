"""The learning rate of the student alone, chosen on validation images: the baseline that a gain is measured against.

    python launch/main.py --config=configs/tune.py --workdir=runs/tune --config.rates="(0.03, 0.1, 0.3)"

Every rate is trained with every seed in one program (`train.sweep`). The summary's `points` hold the validation and test accuracy of
every rate, mean over seeds, the best by validation first.
"""

from ml_collections import ConfigDict

from configs import _parts as parts
from configs import quickstart
from kdjax import methods, models
from kdjax.train import sweep


def get_config(variant: str = "") -> ConfigDict:
    chosen = parts.variant(variant, student="conv_net")
    config = quickstart.get_config(f"student={chosen['student']}")
    for name in ("teacher", "teacher_training", "method", "smoothing"):
        del config[name]
    return ConfigDict({**config.to_dict(), "rates": (0.03, 0.1, 0.3)})


def build(config: parts.Config) -> parts.Experiment:
    dataset = parts.load_data(config)
    section = config.student_training
    specification = parts.net_specification(section.net, dataset, config.precision)
    student = models.build(specification)
    each = parts.per_epoch(config, dataset)

    def make(learning_rate):
        tx = parts.make_optimiser(section.optimiser, section.epochs * each, each, learning_rate=learning_rate)
        return methods.supervised(student, tx, micro=section.micro)

    method, hyper = sweep(make, {"learning_rate": config.rates}, config.seeds)
    stage = parts.classifier_stage(
        config, dataset, section, lambda tx, micro: method, nets={"network": specification},
        members=config.seeds * len(config.rates), hyper=hyper, source=parts.student_sources(config, dataset)[0],
        recipe={"method": "supervised", "labels_per_class": config.labels_per_class},
    )  # fmt: skip
    return parts.Experiment({"student_alone": stage}, dataset, sweep="student_alone")
