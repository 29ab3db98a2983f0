"""A net with stochastic depth whose submodels teach each other, beside what has no terms between them, and twice the epochs.

    python launch/main.py --config=configs/cosub.py --workdir=runs/cosub
    python launch/main.py --config=configs/cosub.py:student=vit --config.student_training.net.drop_path=0.1 --workdir=runs/vit

`once` learns from labels by binary cross-entropies, `longer` so for twice the epochs, `twice` from two submodels an image without
the terms between them, `cosub` with them: the last three cost the same. Each has the best of `rates` by validation images. The
depth is dropped at a constant rate; `--config.student_training.net.drop_path_exact=True` drops exactly so many rows.
"""

from ml_collections import ConfigDict

from kdjax import methods
from kdjax.experiment import sections, submodels
from kdjax.experiment.entry import keyword_defaults

build = submodels.build


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, student="resnet14")
    net, dropped = chosen["student"], {"drop_path": 0.2, "drop_path_rule": "constant"}
    depth = 6 if net == "vit" else 16
    training = sections.training_section(net, depth=depth, epochs=30, optimiser=sections.sgd_section(0.5), **dropped)
    return ConfigDict(
        {
            **sections.run_section(seeds=5),
            "data": sections.data_section("digits", batch=64, val_fraction=0.1),
            "labels_per_class": 20,
            "rates": sections.rates_for(net, 0.1, 0.3, 1.0),  # learning rates to choose from; (): that of the config
            "student_training": training,
            "cosub": keyword_defaults(methods.cosub),
        }
    )
