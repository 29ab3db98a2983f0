"""An encoder without labels by any self-supervised method, on handwritten digits, probed with ten labels a class.

    python launch/main.py --config=configs/ssl.py:method=byol --workdir=runs/byol

The stage `untrained` is the same encoder before training, its batch statistics taken from the images. Images of your own need no
labels: `--config.data.source=folder:<dir>` or `npz:<path>`; the probe learns from what labels there are, or is left out.
"""

from functools import partial
from typing import Any

from ml_collections import ConfigDict

from kdjax import methods
from kdjax.experiment import representation, sections
from kdjax.experiment.entry import Entry, method_section


def train_byol(c):
    """Projector and predictor of one shape, on two views."""
    return methods.byol(c.encoder, c.mlp_head(), c.mlp_head(), c.tx, **c.options), c.grey_views()


METHODS = {"byol": Entry(methods.byol, train_byol)}


def get_config(variant: str = "", **options: Any) -> ConfigDict:
    """The config, with other defaults of a method's options."""
    chosen = sections.variant(variant, method="byol", encoder="conv_net")
    return ConfigDict(
        {
            **sections.run_section(seeds=3),
            "data": sections.data_section("digits", batch=128, val_fraction=0.0),
            "views": {"rotation": 0.35, "scale": (0.75, 1.25), "shear": 0.3, "shift": 1.0, "noise": 0.0, "blur_p": 0.0},
            "encoder_training": sections.training_section(
                chosen["encoder"], widths=(32, 64, 128), epochs=200,
                optimiser=sections.adam_section(1e-3, warmup_epochs=5.0, weight_decay=1e-4),
            ),
            "head": {"hidden": 256, "out": 64},
            "method": method_section(chosen["method"], METHODS, **options),
            "probe": {"per_class": 10, "draws": 5, "neighbours": 20},
        }
    )  # fmt: skip


build = partial(representation.build, table=METHODS)
