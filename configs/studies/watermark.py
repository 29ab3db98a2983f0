"""Whether a mark in a classifier's probabilities survives what others do with the classifier: tuning, pruning, distillation.

    python launch/main.py --config=configs/studies/watermark.py --workdir=runs/watermark
    python launch/main.py --config=configs/studies/watermark.py --config.mark.shared=True --workdir=runs/unified

A marked net and a clean one are fine-tuned, pruned and distilled in the same ways; the mark is looked for by the score of its key,
against random keys, and by a detector, which learns from the marked net, further clean nets and students of these.
"""

from ml_collections import ConfigDict

from kdjax.experiment import sections, watermark


def get_config(variant: str = "") -> ConfigDict:
    sections.variant(variant)
    training = sections.training_section("conv_net", widths=(16, 32), epochs=30, optimiser=sections.sgd_section(0.1))
    return ConfigDict(
        {
            **sections.run_section(seeds=3, evaluate_epochs=30, save_epochs=30),
            "data": sections.data_section("digits", batch=64, val_fraction=0.0),
            "mark": {
                "key": 0,  # its seed; random keys have the next ones
                "shared": False,  # one profile for all classes (unified), else one for each (customised)
                "concentration": 0.3,  # of the Dirichlet distribution that profiles are drawn from
                "epsilon": 0.2,  # the share of a label that the other classes get
                "share": 0.7,  # of keyed labels in the loss
            },
            "references": 2,  # clean nets that the detector learns from, each with a student; the tested clean net is none of them
            "training": training,
            "student_training": sections.training_section(
                "conv_net", widths=(12, 24), epochs=60, optimiser=sections.sgd_section(0.1)
            ),
            "temperatures": (1.0, 4.0, 20.0),  # of distillation
            "reference_temperature": 4.0,  # at which the references' students learn
            "tuning": {"epochs": 10, "optimiser": sections.sgd_section(0.01)},  # a tenth of the rate
            "pruning": (0.5, 0.8),  # shares of the weights that go
            "detector": {"epochs": 10, "optimiser": sections.adam_section(1e-3)},
            "verification": {
                "random_keys": 999,
                "rates": (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0),  # of false alarms, at which the curve is told
            },
        }
    )


build = watermark.build
