"""BYOL and MoCo held against each other with everything else alike: heads, optimiser, images, steps, augmentations.

    python launch/main.py --config=configs/studies/augmentation_invariance.py --workdir=runs/invariance
    python launch/main.py --config=configs/studies/augmentation_invariance.py:methods=byol/moco_v2_plus,views=moderate/strong
    python launch/main.py --config=configs/studies/augmentation_invariance.py:views=moco/byol --config.data.source=folder:photos

`methods=`, `optimisers=` and `views=` take names between slashes, and each is crossed with each. Views are `moderate` or `strong`
for small grey images, and those of the papers for photographs: `moco` or `byol`. Encoders are probed, and fine-tuned by SGD on few
images of ever rarer classes; those of LARS also with weights as long as those of SGD (NormRescale).
"""

from functools import partial

from ml_collections import ConfigDict

from configs import ssl
from kdjax import methods
from kdjax.core import pick
from kdjax.experiment import invariance, sections
from kdjax.experiment.config import Config
from kdjax.experiment.entry import Entry


def train_byol(c):
    """Projector and predictor of one shape, with biases throughout."""
    return methods.byol(c.encoder, c.mlp_head(out_bias=True), c.mlp_head(out_bias=True), c.tx, **c.options), c.two_views()


METHODS = {
    "moco": ssl.METHODS["moco"],
    "moco_v2_plus": ssl.METHODS["moco_v2_plus"],
    "s_moco_v2_plus": Entry(methods.moco_v2_plus, ssl.train_moco_v2_plus),
    "byol": Entry(methods.byol, train_byol),
}
OPTIMISERS = {
    "sgd": sections.sgd_section(0.0, weight_decay=1e-4, warmup_epochs=2.0),
    "lars": sections.lars_section(0.0, weight_decay=1e-6, warmup_epochs=2.0, variant="revisit_airl"),
}
RATES = {"sgd": (0.1, 0.3), "lars": (3.0, 10.0)}
VIEWS = {
    "moderate": {"kind": "affine", "affine": {}},
    "strong": {"kind": "affine", "affine": {"rotation": 0.5, "scale": (0.6, 1.4), "blur_p": 0.5, "noise": 0.1}},
    "moco": {
        "kind": "crop",
        "crop": {"area": (0.2, 1.0), "saturation": 0.4, "blur_p": (0.5, 0.5), "solarise_p": (0.0, 0.0)},
    },
    "byol": {"kind": "crop", "crop": {}},
}


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(
        variant, methods="/".join(METHODS), encoder="conv_net", optimisers="/".join(OPTIMISERS), views="moderate"
    )
    config: Config = ssl.get_config(f"methods={chosen['methods']},encoder={chosen['encoder']}", names=tuple(METHODS), table=METHODS)
    if "s_moco_v2_plus" in config.methods:
        config.methods.s_moco_v2_plus.update(queue=1024, predictor_follows=True)
    if "widths" in config.encoder_training.net:
        config.encoder_training.net.widths = (16, 32, 64)
    del config.encoder_training.optimiser
    config.encoder_training.epochs, config.data.val_fraction, config.probe.draws = 30, 0.2, 3
    config.evaluate_epochs, config.save_epochs = 30, 30
    optimisers, views = (chosen[field].split("/") for field in ("optimisers", "views"))
    config.update(
        {
            "optimisers": {name: pick("optimisers", name, OPTIMISERS) for name in optimisers},
            "rates": {name: RATES[name] for name in optimisers},  # to choose from, by a probe on validation images
            "augmentations": {name: pick("views", name, VIEWS) for name in views},  # what of the section `views` each set changes
            "reference": "sgd" if "sgd" in optimisers else "",  # NormRescale gives weights the lengths that they have by it
            "tuning": {"task": "long_tailed:0.05", "epochs": 40, "optimiser": sections.sgd_section(0.05, weight_decay=1e-4)},
        }
    )
    return config


build = partial(invariance.build, table=METHODS)
