"""The table of self-distillation: a network by each method, beside the tuned network alone, smoothing, mixup and a round of `kd`.

    python launch/main.py --config=configs/self_benchmark.py --workdir=runs/self --config.data.dir=~/tensorflow_datasets
    python launch/main.py --config=configs/self_benchmark.py:methods=byot/kd/cs_kd+sd_dropout,data=cifar10 --workdir=runs/some

These methods regularise, and have something to do where a network over-fits: 2,000 images of Fashion-MNIST, or of CIFAR-10, at half
their side. No method sees others. Each keeps its published weights, in `config.methods.<name>`, and chooses its learning rate by
validation images, as the network alone does (`sweep`, `baseline_rates`). `kd` is one round of born-again networks: the first seed
of the network alone teaches all. All are compared with it, with the network alone, with label smoothing and with mixup, paired by
seed. The report says how many images pass the network in a step: equal steps are not equal costs. The table: `configs/README.md`.
"""

from ml_collections import ConfigDict

from configs import self_distil
from kdjax import methods
from kdjax.core import pick
from kdjax.experiment import sections, self_distillation
from kdjax.experiment.context import Experiment
from kdjax.experiment.entry import Entry, methods_section
from kdjax.experiment.report_table import ReportTable

SOURCES = {"fashion_mnist": ("tfds:fashion_mnist", 14), "cifar10": ("tfds:cifar10", 16)}
# What passes the network in a step, in images of the network alone: others of the class, views, submodels, mixtures, the teacher's.
PASSES = {"cosub": 2, "cs_kd": 2, "ddgsd": 2, "kd": 2, "mixskd": 2}
# For nets with stochastic depth; without ranges the labels alone; a control of sd_dropout; the network alone.
OTHERS = ("cosub", "cyclical", "dropout", "supervised")


def make_kd(c):
    """A network like its teacher."""
    return c.entry.method(c.network, c.network, c.tx, **c.options)


def train_kd(c):
    """The network alone teaches another one from scratch."""
    given = lambda results: {"teacher": results["student_alone"].frozen()}  # noqa: E731
    return c.stage(given=given, nets={"student": c.specification})


METHODS = {**self_distil.METHODS, "kd": Entry(methods.kd, make_kd, train_kd)}
NAMES = (*sorted(name for name in METHODS if name not in OTHERS), "supervised+mixup", "supervised+cutmix")
BASELINES = ("kd", "supervised+mixup")


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, methods="/".join(NAMES), student="conv_net", data="fashion_mnist")
    source, side = pick("data", chosen["data"], SOURCES)
    data = sections.data_section(source, batch=64, val_fraction=0.1, image_size=side)
    optimiser = sections.sgd_section(0.2)
    return ConfigDict(
        {
            **sections.run_section(seeds=3, evaluate_epochs=4, save_epochs=20),
            "data": {**data, "train_images": 2000},
            **sections.students_section(
                baseline_rates=sections.rates_for(chosen["student"], 0.05, 0.2, 0.8),
                smoothing=0.1,
                sweep="learning_rate=" + ",".join(map(str, sections.rates_for(chosen["student"], 0.05, 0.2, 0.8))),
            ),
            "student_training": sections.training_section(chosen["student"], widths=(16, 32, 64), epochs=60, optimiser=optimiser),
            "methods": methods_section(tuple(chosen["methods"].split("/")), METHODS),
            "exits": self_distil.EXITS,
        }
    )


def build(config) -> Experiment:
    found = self_distillation.build(config, METHODS)
    compare = [(name, other) for name in config.methods for other in BASELINES if other in config.methods and name != other]
    more = tuple((f"{name}/test_accuracy", f"{other}/test_accuracy") for name, other in compare)
    rows = {name: {"passes": float(max(PASSES.get(part, 1) for part in name.split("+")))} for name in config.methods}
    note = "Images that pass the network forward in a step, times those of the network alone; exits and heads are not counted."
    table = ReportTable("passes", "Forward passes a step", rows, 0, note)
    return found._replace(compare=found.compare + more, tables=lambda measured, lines: [table])
