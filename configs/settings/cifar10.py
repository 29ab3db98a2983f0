"""CIFAR-10 as solo-learn trains on it: ResNet-18 for 1,000 epochs of batch 256, ten of warm-up, a cosine, images of 32 pixels.

What differs from its scripts: warm-ups begin at 0 and not at 3e-5, `adam` decays weights apart from gradients, projectors are
those of the papers, which in `simclr` have batch norms, `swav` brings prototypes to length 1 behind the step and not inside the
net, and the gradient of `w_mse` goes through both views. `moco` is its MoCo v2+. Published there, top-1 of the classifier that is
trained alongside: barlow_twins 92.10, byol 92.58, deepcluster_v2 88.85, dino 89.52, moco 92.94, moco_v3 93.10, nnclr 91.88, ressl
90.63, simclr 90.74, simsiam 90.51, swav 89.17, vibcreg 91.18, vicreg 92.07, w_mse 88.67.
"""

from typing import Any

from kdjax.experiment import sections


def larc(
    rate: float, weight_decay: float, *, warmup_epochs: float = 10.0, clip_ratio: bool = True, last_share: float = 0.0
) -> dict:
    """LARS whose ratio is clipped."""
    own = {"eta": 0.02, "variant": "larc", "clip_ratio": clip_ratio, "last_share": last_share}
    return sections.lars_section(rate, weight_decay=weight_decay, warmup_epochs=warmup_epochs, **own)


def sgd(rate: float, weight_decay: float) -> dict:
    """With momentum 0.9."""
    return sections.sgd_section(rate, weight_decay=weight_decay, warmup_epochs=10.0)


COMMON: dict[str, Any] = {"data": {"source": "npz:cifar10.npz"}, "batch": 256, "encoder": "resnet18", "epochs": 1000}

ASYMMETRIC = {"blur_p": (0.0, 0.0)}
SYMMETRIC = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2, "blur_p": (0.5, 0.5), "solarise_p": (0.0, 0.0)}
WEAK = {"saturation": 0.4, "blur_p": (0.5, 0.5), "solarise_p": (0.0, 0.0)}
SOLARISED = {"area": (0.2, 1.0), "blur_p": (0.0, 0.0), "solarise_p": (0.1, 0.1)}
CROPPED = {"jitter_p": 0.0, "grey_p": 0.0, "blur_p": (0.0, 0.0), "solarise_p": (0.0, 0.0)}

SETTINGS: dict[str, dict[str, Any]] = {
    "barlow_twins": {
        "optimiser": larc(0.3, 1e-4), "head": {"hidden": 2048, "out": 2048}, "views": ASYMMETRIC,
        "method": {"weight": 0.005, "scale": 0.1},
    },
    "byol": {"optimiser": larc(1.0, 1e-5), "head": {"hidden": 4096, "out": 256}, "views": ASYMMETRIC, "method": {"tau": 0.99}},
    "deepcluster_v2": {
        "optimiser": larc(0.6, 1e-6, warmup_epochs=11.0, last_share=1e-3), "head": {"hidden": 2048, "out": 128}, "views": SYMMETRIC,
        "method": {"prototypes": 3000, "heads": 3},
    },
    "dino": {
        "optimiser": larc(0.3, 1e-6), "head": {"hidden": 2048, "out": 256}, "views": ASYMMETRIC,
        "method": {"outputs": 4096, "teacher_temperature": 0.07, "warmup_epochs": 0, "momentum": 0.9995},
    },
    "mae": {
        "encoder": "vit_small", "net": {"patch": 4}, "views": CROPPED,
        "optimiser": sections.adam_section(2e-4, weight_decay=0.05, b2=0.95, warmup_epochs=10.0),
        "method": {"mask": 0.75, "decoder_depth": 8, "decoder_width": 512, "decoder_heads": 16},
    },
    "moco": {
        "optimiser": sgd(0.3, 1e-4), "head": {"hidden": 2048, "out": 256}, "views": WEAK,
        "method": {"symmetric": True, "queue": 32768, "temperature": 0.2, "momentum": 0.99, "last_momentum": 0.999},
    },
    "moco_v3": {
        "optimiser": larc(0.3, 1e-6), "head": {"hidden": 4096, "out": 256}, "views": ASYMMETRIC,
        "method": {"temperature": 0.2, "momentum": 0.99},
    },
    "nnclr": {
        "optimiser": larc(0.4, 1e-5), "head": {"hidden": 2048, "out": 256, "predictor_hidden": 4096}, "views": ASYMMETRIC,
        "method": {"temperature": 0.2, "queue": 65536},
    },
    "ressl": {
        "optimiser": sgd(0.05, 1e-4), "head": {"hidden": 4096, "out": 256},
        "views": {"blur_p": (0.5, 0.0), "solarise_p": (0.0, 0.0)}, "method": {"queue": 65536, "momentum": 0.99},
    },
    "simclr": {
        "optimiser": larc(0.4, 1e-4), "head": {"hidden": 2048, "out": 256}, "views": SYMMETRIC, "method": {"temperature": 0.2},
    },
    "simsiam": {
        "optimiser": sgd(0.5, 1e-5), "head": {"hidden": 2048, "out": 2048, "predictor_hidden": 512}, "views": WEAK,
    },
    "swav": {
        "optimiser": larc(0.6, 1e-6), "head": {"hidden": 2048, "out": 128}, "views": SYMMETRIC,
        "method": {"prototypes": 3000, "queue": 3840, "queue_epoch": 50, "frozen_epochs": 2},
    },
    "vibcreg": {
        "optimiser": larc(0.3, 1e-4, clip_ratio=False), "head": {"hidden": 2048, "out": 2048}, "views": SOLARISED,
        "method": {"iterative": True, "activation": "gelu"},
    },
    "vicreg": {
        "optimiser": larc(0.3, 1e-4), "head": {"hidden": 2048, "out": 2048}, "views": SOLARISED,
        "method": {"halve_variance": False},
    },
    "w_mse": {
        "optimiser": sections.adam_section(2e-3, weight_decay=1e-6, warmup_epochs=10.0), "head": {"hidden": 1024, "out": 64},
        "views": {**SYMMETRIC, "area": (0.2, 1.0), "blur_p": (0.0, 0.0)}, "method": {"size": 128},
    },
}  # fmt: skip
