"""The CIFAR-100 table of Self-KD-Lib: methods by which a network teaches itself, under the protocol of that library.

    python launch/main.py --config=configs/cifar100_self.py:method=byot --workdir=runs/byot --config.data.source=npz:cifar100.npz
    python launch/main.py --config=configs/cifar100_self.py:method=mixskd,student=preact_resnet18 --workdir=runs/mixskd

Its figures (the best test epoch of one seed, top-1 %): cross-entropy 76.24, BYOT 77.88, DKS 78.64, SAD 76.40, FRSKD 76.60, DDGSD
76.61, CS-KD 78.66, PS-KD 79.31, BAKE 76.93, Tf-KD 76.61, focal 76.19, smoothing 78.72, mixup 78.68, CutMix 80.17, MixSKD 80.32.
Here results are those of the last epoch and of the shipped network. It takes GPUs and hours; nothing of it was run here.

That table holds two nets with a budget each: `preact_resnet18` with batches of 128 for 200 epochs, and for MixSKD alone
`resnet18` with 64 for 205, of whose exits the best one counts. The net brings its budget, so that `student=` compares all under
either. SGD of 0.1 with Nesterov momentum, weight decay 5e-4, 5 epochs of warm-up, a tenth behind 100 and 150 more; exits behind
stages 2 and 3 with as many blocks as there. Options of methods are the library's, but that BAKE's targets are not softmaxed twice
and MixSKD has its mixed labels.
"""

from ml_collections import ConfigDict

from configs.cifar100 import MEAN, STD
from configs.self_distil import EXITS, METHODS, build
from kdjax.experiment import sections
from kdjax.experiment.entry import method_section

__all__ = ["METHODS", "build", "get_config"]

BUDGETS = {"preact_resnet18": (128, 200), "resnet18": (64, 205)}  # images of a batch, epochs
WARMUP, DROPS = 5, (105, 155)
# What the library has otherwise than the papers, of which this repository has the defaults.
LIBRARY = {
    "byot": {"exit_weight": 1.0, "weight": 1.0, "feature_weight": 0.05, "temperature": 4.0, "features": "mean"},
    "confidence_penalty": {"weight": 0.005},  # a half of the mean over 100 classes
    "frskd": {"stop_teacher": False},
}
BLOCKS = {"byot": (2, 1, 1), "dks": (2, 1, 2)}  # of stages 2 to 4, of which the exits copy the last two


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, method="cs_kd", student="")
    method = chosen["method"]
    student = chosen["student"] or ("resnet18" if method == "mixskd" else "preact_resnet18")
    batch, epochs = BUDGETS.get(student, BUDGETS["preact_resnet18"])
    drops = tuple(epoch / epochs for epoch in DROPS)
    optimiser = sections.sgd_section(0.1, kind="steps", drops=drops, warmup_epochs=WARMUP, nesterov=True)
    behind = {"stages": "stage2,stage3", "blocks": BLOCKS[method]} if method in BLOCKS and student in BUDGETS else {}
    return ConfigDict(
        {
            **sections.run_section(seeds=3),
            "data": sections.data_section(
                "npz:cifar100.npz",
                batch=batch,
                val_fraction=0.0,
                augmentation="crop_flip",
                keep_last_batch=True,
                mean=MEAN,
                std=STD,
            ),
            **sections.students_section(),
            "student_training": sections.training_section(student, epochs=epochs, optimiser=optimiser),
            "method": method_section(method, METHODS, **LIBRARY.get(method, {})),
            "exits": {**EXITS, **behind},
        }
    )
