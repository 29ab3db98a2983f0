"""Which task to learn first for another one, told beforehand: by gradients before any training, and by scores of trained nets.

    python launch/main.py --config=configs/studies/task_distance.py --workdir=runs/distance
    python launch/main.py --config=configs/studies/task_distance.py --config.sources=original,noisy,npz:letters.npz

A net learns each of the tasks `sources`, and is taken to each of `targets`, by a linear probe on few labels. Tasks are named as in
configs/studies/transfer.py. `gradient` says from how many batches a task is described; nothing is trained for that.
"""

from ml_collections import ConfigDict

from kdjax.experiment import sections, task_distance


def get_config(variant: str = "") -> ConfigDict:
    sections.variant(variant)
    sgd = sections.sgd_section(0.05, warmup_epochs=1.0)
    altered = ("original", "inverted", "mirrored", "noisy", "rotated", "scrambled")
    return ConfigDict(
        {
            **sections.run_section(seeds=3, evaluate_epochs=40, save_epochs=40),
            "data": sections.data_section("digits", batch=64, val_fraction=0.0, augmentation="affine"),
            "sources": (*altered, "0-4", "5-9"),
            "targets": altered,
            "training": sections.training_section("conv_net", widths=(16, 32, 64), epochs=40, optimiser=sgd),
            "gradient": {"batch": 64, "batches": 200},
            "transfer": {
                "per_class": 10, "draws": 3,  # labels a class of the probe, and how often they are drawn; 0: all
                "neighbours": 20,  # of kNN
                "episodes": 0, "ways": 5, "shots": 5, "queries": 15,  # few-shot tasks; 0: none
            },
        }
    )  # fmt: skip


build = task_distance.build
