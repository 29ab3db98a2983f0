"""Data-free distillation on handwritten digits: the student never sees a real image.

    python launch/main.py --config=configs/digits_datafree.py --workdir=runs/digits_datafree

DAFL's terms and DeepInversion's batch-norm term; expect the student within a point or two of its teacher. The study is that of
`configs/data_free.py`.
"""

from ml_collections import ConfigDict

from configs import data_free
from configs.data_free import METHODS, build
from kdjax.experiment import sections

__all__ = ["METHODS", "build", "get_config"]


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, student="conv_net", teacher="conv_net")
    return data_free.get_config(
        f"method=dafl,student={chosen['student']},teacher={chosen['teacher']}", one_hot=1.0, balance=5.0, activation=0.1,
        batch_norm=1.0, adversarial=1.0, temperature=4.0, latent=64,
    )  # fmt: skip
