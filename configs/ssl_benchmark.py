"""The table of self-supervised methods: one encoder by each, beside the untrained one, raw pixels and a supervised net.

    python launch/main.py --config=configs/ssl_benchmark.py --workdir=runs/ssl
    python launch/main.py --config=configs/ssl_benchmark.py:methods=byol/swav/vicreg --workdir=runs/three

`methods=` takes names between slashes; by default all of `configs/ssl.py` for convolutional nets. Encoder, views, optimiser and
probe are the same for all of them; their options are in `config.methods.<name>`. Every encoder is compared with the untrained one
and with raw pixels, paired by seed, by a linear probe on few labels; `supervised` learns from the labels of all training images, as
no encoder of the others does.
"""

from functools import partial

from ml_collections import ConfigDict

from configs import ssl
from kdjax import augment, methods
from kdjax.experiment import representation
from kdjax.experiment.entry import Entry


def supervised_stages(c):
    """The same net with a classifier, on the first of the two views."""
    specification = {**c.specification, "classes": c.dataset.classes}

    def make(c):
        return methods.supervised(c.build(specification), c.tx, **c.options), augment.per_image(c.pair()[0])

    return c.stage(make, nets={"network": specification})


OTHERS = ("mae", "twist_labels")  # of transformers, and of two stages
METHODS = ssl.METHODS | {"supervised": Entry(methods.supervised, stages=supervised_stages)}


def get_config(variant: str = "") -> ConfigDict:
    return ssl.get_config(variant, names=tuple(name for name in METHODS if name not in OTHERS), table=METHODS)


build = partial(representation.build, table=METHODS)
