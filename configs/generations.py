"""Born-again nets: each learns from labels and from the one before it, which is the same net from another start.

    python launch/main.py --config=configs/generations.py --workdir=runs/generations
    python launch/main.py --config=configs/generations.py --config.student_training.optimiser.ascent=0.05 --workdir=runs/sam

`round0` learns from labels alone, `round1` to `round<rounds>` by `kd` from the round before, every seed from the net of its own
line. If rounds regularise, they first help and then hurt; if a student is like an ensemble of two, it comes to the
`ensemble_accuracy` of round 0, and one taught by two nets (`of_two`) beyond it; if it is smoothing, `permuted` and `uniform` do as
well, which keep the teacher's confidence in the label and nothing of what it says of other classes.
`launch/analyse.py --what=sharpness` measures the minima.
"""

from ml_collections import ConfigDict

from kdjax.experiment import generations, sections

build = generations.build


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, student="conv_net")
    return ConfigDict(
        {
            **sections.run_section(seeds=5),
            "data": sections.data_section("digits", batch=64, val_fraction=0.1),
            "labels_per_class": 20,
            "rounds": 3,
            "label_weight": 0.1,  # of the labels; the rest is the round before
            "temperature": 4.0,
            "controls": True,  # permuted, uniform and of_two
            "student_training": sections.training_section(
                chosen["student"], widths=(8, 16), epochs=30, optimiser=sections.sgd_section(0.5)
            ),
        }
    )
