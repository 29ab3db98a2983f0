"""BYOL on handwritten digits, probed with ten labels a class.

    python launch/main.py --config=configs/digits_byol.py --workdir=runs/digits_byol

Expect the probe on BYOL's features (`encoder/test_probe_accuracy`) several points above that on the same encoder before training
(`untrained`); `test_knn_accuracy` uses all labels. The study is that of `configs/ssl.py`.
"""

from configs.ssl import METHODS, build, get_config

__all__ = ["METHODS", "build", "get_config"]
