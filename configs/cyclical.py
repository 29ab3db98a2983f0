"""Weight decay, temperature, clip and focal loss that go from easy to hard and back, each beside its constants.

    python launch/main.py --config=configs/cyclical.py --workdir=runs/cyclical
    python launch/main.py --config=configs/cyclical.py --config.parts=temperature,hard --workdir=runs/some

Of each part of `parts` three nets: `<part>_cyclic` over its range, `<part>_mean` at the constant that has the mean of it over all
epochs, `<part>_best` at the best of `constants` by validation images; `plain` has none, `all_cyclic` all together. `hard` is the
share of the focal loss. All learn at one rate, which is to be chosen first.
"""

from ml_collections import ConfigDict

from kdjax.experiment import cyclical, sections

build = cyclical.build


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, student="conv_net")
    return ConfigDict(
        {
            **sections.run_section(seeds=5),
            "data": sections.data_section("digits", batch=64, val_fraction=0.1),
            "labels_per_class": 20,
            "parts": cyclical.PARTS,
            "cycle": 2.0,  # the hard part is after 1 / cycle of the epochs
            # Of the decay a factor of four either side of the optimiser's constant; the others as the author suggests.
            "ranges": {"weight_decay": (1.25e-4, 2e-3), "temperature": (0.5, 2.0), "clip": (0.5, 2.0), "hard": (0.0, 1.0)},
            "constants": {
                "weight_decay": (1.25e-4, 5e-4, 2e-3),
                "temperature": (0.5, 1.0, 2.0),
                "clip": (0.5, 1.0, 2.0),
                "hard": (0.0, 0.5, 1.0),
            },
            "student_training": sections.training_section(
                chosen["student"], widths=(8, 16), epochs=30, optimiser=sections.sgd_section(0.5)
            ),
        }
    )
