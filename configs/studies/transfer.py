"""Whether the encoder that is best where it learnt is best elsewhere: many self-supervised methods, each taken to many tasks.

    python launch/main.py --config=configs/studies/transfer.py --workdir=runs/transfer
    python launch/main.py --config=configs/studies/transfer.py:methods=byol/simclr/vicreg/supervised --config.transfer.shots=1

`methods=` takes names of configs/ssl_benchmark.py between slashes. A task is an altered form of the images (`rotated`, `noisy`,
...), a part of its classes (`0-4`), fewer images to learn from class by class (`long_tailed:0.1`, of the last a tenth of the
first), or another set (`npz:<path>`, ...), brought to the size and the channels of the first; `+` joins them
(`npz:letters.npz+inverted`). Encoders learn on the original images alone, and never change; each task has a linear probe, kNN and
few-shot tasks of its own.
"""

from functools import partial

from ml_collections import ConfigDict

from configs import ssl_benchmark
from kdjax.experiment import transfer_tasks
from kdjax.experiment.config import Config

CHOSEN = ("barlow_twins", "byol", "moco", "simclr", "simsiam", "swav", "vicreg", "supervised")


def get_config(variant: str = "") -> ConfigDict:
    words = [word for word in (variant or "").split(",") if word]
    if not any(word.startswith("methods=") for word in words):
        words.append(f"methods={'/'.join(CHOSEN)}")
    config: Config = ssl_benchmark.get_config(",".join(words))
    config.encoder_training.epochs, config.probe.draws = 60, 1
    if "widths" in config.encoder_training.net:
        config.encoder_training.net.widths = (16, 32, 64)
    config.transfer = ConfigDict(
        {
            "tasks": ("inverted", "mirrored", "noisy", "rotated", "scrambled"),
            "per_class": 10, "draws": 3,  # labels a class of the probe, and how often they are drawn; 0: all
            "neighbours": 20,  # of kNN
            "episodes": 600, "ways": 5, "shots": 5, "queries": 15,  # few-shot tasks; 0: none
        }
    )  # fmt: skip
    return config


build = partial(transfer_tasks.build, table=ssl_benchmark.METHODS, labelled="supervised")
