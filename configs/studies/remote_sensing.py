"""Encoders of satellite images: what few labels are worth with them, and which transforms of the views matter.

    python launch/main.py --config=configs/studies/remote_sensing.py --workdir=runs/earth
    python launch/main.py --config=configs/studies/remote_sensing.py:methods=moco/barlow_twins/simsiam/swav/supervised

Images may have any number of bands: `--config.data.source=npz:eurosat.npz`. Grey ones, such as the digits, are turned into six
bands. `methods=` takes names of configs/ssl_benchmark.py between slashes; `supervised` learns from each part of the labels that the
probes have. One of the methods is met again on views without a transform each (`transforms.study=without`) or with one alone
(`only`): of crop, jitter, grey, blur, flip and drop, and of upside and turn where `views.bands.upside_p` or `turn_p` is above 0.

Images of several classes each have them in a column `classes`, `[N, K]` of 0 and 1 (`train_classes` and `test_classes` of an npz
file): probes then tell every class, and are measured by average precision. `supervised` learns one class an image, and has to go.
"""

from functools import partial

from ml_collections import ConfigDict

from configs import ssl_benchmark
from kdjax.experiment import remote_sensing
from kdjax.experiment.config import Config


def get_config(variant: str = "") -> ConfigDict:
    words = [word for word in (variant or "").split(",") if word]
    for usual in ("methods=moco/supervised", "views=bands"):
        if not any(word.startswith(usual.partition("=")[0] + "=") for word in words):
            words.append(usual)
    config: Config = ssl_benchmark.get_config(",".join(words))
    named = next(word for word in words if word.startswith("methods=")).partition("=")[2].split("/")
    config.encoder_training.epochs = 60
    if "widths" in config.encoder_training.net:
        config.encoder_training.net.widths = (16, 32, 64)
    config.views.bands.radius = 1
    config.probe.update(draws=3, fractions=(0.01, 0.1, 1.0))
    config.bands = ConfigDict({"count": 6, "deviation": 0.1})  # of grey images; count 1: they stay as they are
    config.transforms = ConfigDict(
        {
            "study": "without",  # without: views lack one transform each; only: they have one alone; none
            "names": ("crop", "jitter", "grey", "blur", "flip", "upside", "turn", "drop"),  # of these, those that do anything
            "method": next((name for name in named if name != "supervised"), ""),  # that learns from such views
        }
    )
    return config


build = partial(remote_sensing.build, table=ssl_benchmark.METHODS, labelled="supervised")
