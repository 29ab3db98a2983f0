"""ImageNet as the papers and their released codes train on it: ResNet-50, views of 224 pixels cut from images of 256.

`dino` is of ViT-S/16. Rates are those of the batch: the papers' rate for 256 images times the batch over 256. What differs:
images are first brought to 256 pixels; warm-ups begin at 0 (in `swav` and `deepcluster_v2` at 0.3, in `fast_moco` at 0.025); the
weight decay of `dino` stays at 0.04, where it rises to 0.4, its gradients are cut together, not array by array, its positions are
fixed ones, which fit crops of both sizes, and all of its small crops are blurred, not half of them; `simclr` has the first
version's projector of two layers; both stages of `twist_labels` have the crops of the first and the warm-up of the second; of
`relicv2`, whose code is not released, heads and small crops are guessed.
"""

from typing import Any

from kdjax.experiment import sections

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COMMON: dict[str, Any] = {
    "data": {"source": "tfds:imagenet2012", "image_size": 256, "crop": 224, "mean": MEAN, "std": STD},
    "encoder": "resnet50", "net": {"stem": "imagenet", "patch": 16}, "precision": "bfloat16",
}  # fmt: skip


def lars(rate: float, weight_decay: float, **options: Any) -> dict:
    """As in BYOL: eta 0.001, ten epochs of warm-up, a cosine."""
    return sections.lars_section(rate, weight_decay=weight_decay, **options)


def sgd(rate: float, weight_decay: float = 1e-4, **options: Any) -> dict:
    """With momentum 0.9 and a cosine."""
    return sections.sgd_section(rate, weight_decay=weight_decay, **options)


SYMMETRIC = {"blur_p": (0.5, 0.5), "solarise_p": (0.0, 0.0)}
MOCO = {**SYMMETRIC, "area": (0.2, 1.0), "saturation": 0.4}
STRONG = {**SYMMETRIC, "brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
MULTI_CROP = {"views": {**STRONG, "area": (0.14, 1.0)}, "small": {"count": 6, "size": 96, "area": (0.05, 0.14)}}
SWAV = lars(4.8, 1e-6, variant="larc", vectors=True, last_share=1e-3)
TWIST = {
    "batch": 2048, "head": {"hidden": 4096, "out": 4096}, "views": {"area": (0.4, 1.0)},
    "small": {"count": 12, "size": 96, "area": (0.05, 0.4)},
}  # fmt: skip

SETTINGS: dict[str, dict[str, Any]] = {
    "barlow_twins": {
        "epochs": 1000, "batch": 2048, "optimiser": lars(1.6, 1e-6, vector_rate=0.024, last_share=1e-3),
        "head": {"hidden": 8192, "out": 8192}, "method": {"weight": 0.0051},
    },
    "byol": {
        "epochs": 1000, "batch": 4096, "optimiser": lars(3.2, 1.5e-6), "head": {"hidden": 4096, "out": 256},
        "method": {"tau": 0.996},
    },
    "deepcluster_v2": {
        "epochs": 800, "batch": 4096, "optimiser": SWAV, "head": {"hidden": 2048, "out": 128}, **MULTI_CROP,
        "method": {"prototypes": 3000, "heads": 3},
    },
    "dino": {
        "encoder": "vit_small", "net": {"drop_path": 0.1, "positions": "sincos"}, "epochs": 300, "batch": 1024,
        "optimiser": sections.adam_section(2e-3, weight_decay=0.04, clip=3.0, warmup_epochs=10.0, last_share=5e-4),
        "head": {"hidden": 2048, "out": 256}, "views": {"area": (0.4, 1.0)},
        "small": {"count": 8, "size": 96, "area": (0.05, 0.4)},
        "method": {"outputs": 65536, "teacher_temperature": 0.07, "warmup_epochs": 30, "momentum": 0.996},
    },
    "fast_moco": {
        "net": {"zero_init_last": True}, "epochs": 100, "batch": 512, "optimiser": sgd(0.1, warmup_epochs=1.0, clip=1.0),
        "head": {"hidden": 2048, "out": 2048, "predictor_hidden": 512}, "views": MOCO,
    },
    "moco": {
        "epochs": 200, "batch": 256, "optimiser": sgd(0.03), "head": {"hidden": 2048, "out": 128}, "views": MOCO,
        "method": {"queue": 65536, "temperature": 0.2, "momentum": 0.999},
    },
    "moco_v2_plus": {
        "epochs": 200, "batch": 256, "optimiser": sgd(0.03, warmup_epochs=10.0), "head": {"hidden": 4096, "out": 256},
        "views": MOCO, "method": {"queue": 65536, "temperature": 0.2, "momentum": 0.99},
    },
    "moco_v3": {
        "epochs": 1000, "batch": 4096, "optimiser": lars(4.8, 1.5e-6), "head": {"hidden": 4096, "out": 256},
        "views": {"area": (0.2, 1.0)}, "method": {"temperature": 1.0, "momentum": 0.996},
    },
    "relicv2": {
        "epochs": 1000, "batch": 4096, "optimiser": lars(4.8, 1e-6), "head": {"hidden": 4096, "out": 512},
        "small": {"count": 2, "size": 96}, "method": {"large": 4, "momentum": 0.996},
    },
    "simclr": {
        "epochs": 1000, "batch": 4096, "optimiser": lars(4.8, 1e-6), "head": {"hidden": 2048, "out": 128}, "views": STRONG,
        "method": {"temperature": 0.1},
    },
    "simsiam": {
        "net": {"zero_init_last": True}, "epochs": 100, "batch": 512, "optimiser": sgd(0.1),
        "head": {"hidden": 2048, "out": 2048, "predictor_hidden": 512}, "views": MOCO,
    },
    "swav": {
        "epochs": 800, "batch": 4096, "optimiser": SWAV, "head": {"hidden": 2048, "out": 128}, **MULTI_CROP,
        "method": {"prototypes": 3000, "frozen_epochs": 1},
    },
    "twist": {"epochs": 800, "optimiser": lars(4.0, 1.5e-6), **TWIST},
    "twist_labels": {
        "epochs": 50, "optimiser": lars(0.4, 1.5e-6, warmup_epochs=5.0), **TWIST,
        "method": {"first": {"epochs": 800, "learning_rate": 4.0}},
    },
    "vicreg": {
        "epochs": 1000, "batch": 2048, "optimiser": lars(1.6, 1e-6, last_share=0.01), "head": {"hidden": 8192, "out": 8192},
        "views": {"blur_p": (0.5, 0.5), "solarise_p": (0.1, 0.1)},
    },
}  # fmt: skip
