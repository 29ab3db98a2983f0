"""Which images to have labelled, when only 10, 20 or 40 labels can be paid for: chosen by an encoder that learnt without labels.

    python launch/main.py --config=configs/studies/selective_labels.py --workdir=runs/labels
    python launch/main.py --config=configs/studies/selective_labels.py:method=simclr --config.data.source=npz:fashion.npz

`usl` takes a dense and distant image of each cluster, `usl_density` the densest one, `uslt` one of each cluster that it has learnt
(`--config.uslt.train=False` leaves it out); `random` and `stratified`, which knows all labels, are what they are held against. The
probe is the same for all of them, on the features of the encoder.
"""

from functools import partial

from ml_collections import ConfigDict

from configs import ssl
from kdjax import methods
from kdjax.experiment import sections, selective
from kdjax.experiment.entry import keyword_defaults


def get_config(variant: str = "") -> ConfigDict:
    config = ssl.get_config(variant)
    selection = {
        "budgets": (10, 20, 40),
        "draws": 5,  # seeds of k-means, and of the images taken at random
        "k": 20,  # neighbours of the density; far below images / labels
        "c": 1.0,  # of the probe: a few labels leave nothing to choose it by
        # Of evaluate.usl, as the authors have them for CIFAR-10.
        "options": {"weight": 0.5, "iterations": 10, "momentum": 0.9, "horizon": 4.0, "exponent": 0.5},
    }
    uslt = {
        "train": True,  # USL-T: clusters are learnt, for each number of labels anew
        # The authors take 200 epochs of batches of 1024. At a rate of 1e-3 all images fall into a few clusters, in turn.
        "epochs": 25,
        "optimiser": sections.adam_section(1e-4, kind="constant", weight_decay=1e-4),
        "method": {name: value for name, value in keyword_defaults(methods.uslt).items() if name != "clusters"},
    }
    config.update({"seeds": 5, "encoder_training": {"epochs": 100}, "selection": selection, "uslt": uslt})
    return config


build = partial(selective.build, table=ssl.METHODS)
