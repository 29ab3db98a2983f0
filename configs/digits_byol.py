"""BYOL on handwritten digits, probed with ten labels a class.

    python launch/main.py --config=configs/digits_byol.py --workdir=runs/digits_byol

Expect the probe on BYOL's features (`encoder/test_probe_accuracy`) several points above that on the same encoder before training
(`untrained`); `test_knn_accuracy` uses all labels. The study is that of `configs/ssl.py`.
"""

from ml_collections import ConfigDict

from configs import ssl
from configs.ssl import METHODS, build
from kdjax.experiment import sections

__all__ = ["METHODS", "build", "get_config"]


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, encoder="conv_net")
    return ssl.get_config(f"method=byol,encoder={chosen['encoder']}", tau=0.99)
