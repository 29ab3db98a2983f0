"""Several nets that differ in their seeds alone, put side by side: hardly better at what they learnt, better at what they did not.

    python launch/main.py --config=configs/studies/rich_representations.py --workdir=runs/rich

All nets learn to tell the first five classes apart; the other five are the task that features are taken to. A seed is a group of
four nets with all that is made of them: their features in a row, a wide net of as many parameters, the same four trained as one, a
net distilled from them, and what comes of them by fine-tuning.
"""

from ml_collections import ConfigDict

from kdjax.experiment import rich, sections


def get_config(variant: str = "") -> ConfigDict:
    sections.variant(variant)
    sgd = sections.sgd_section(0.05, warmup_epochs=1.0)
    training = sections.training_section("conv_net", widths=(8, 16, 32), epochs=40, optimiser=sgd)
    return ConfigDict(
        {
            **sections.run_section(seeds=5, evaluate_epochs=20, save_epochs=40),
            "data": sections.data_section("digits", batch=64, val_fraction=0.0, augmentation="affine"),
            "source_classes": 5,
            "nets": 4,  # of a group
            "training": training,
            "wide": {"widths": (16, 32, 64)},  # as many parameters as the four, features twice as wide as one's
            "temperature": 4.0,
            "distilling": {**training, "epochs": 80},
            "transfer": {"per_class": (5, 10, 20), "draws": 1, "grid": (1e-3, 1e-2, 1e-1, 1.0, 10.0)},
            "tuning": {"per_class": 10, "epochs": 200, "optimiser": sections.sgd_section(0.05)},
            "head": {"epochs": 2, "learning_rate": 1e-3},
        }
    )


build = rich.build
