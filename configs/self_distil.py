"""A network that teaches itself, by any method or sum of `method=`, beside the same network alone; or a table of `methods=`.

    python launch/main.py --config=configs/self_distil.py:method=cs_kd+sd_dropout --workdir=runs/own
    python launch/main.py --config=configs/self_distil.py:methods=tf_kd/ps_kd/cs_kd --workdir=runs/table

No teacher: all learn from the same labels, in as many steps, and the network alone at the best of `baseline_rates` by validation
images. Give the methods the same choice, `--config.sweep="learning_rate=0.1,0.5,2"`, before they are held against it. Methods that
regularise have something to do where a network over-fits: few labels (`--config.labels_per_class=20`), or many epochs.
"""

from functools import partial

from ml_collections import ConfigDict

from kdjax import methods
from kdjax.experiment import sections, self_distillation, swa
from kdjax.experiment.entry import Entry, method_section, methods_section
from kdjax.methods.recipes import labels_objective
from kdjax.methods.self_distil.bake import bake_objective
from kdjax.methods.self_distil.cosub import cosub_objective


def train_bake(c, *, others=3):
    """A batch holds each image together with `others` of its class."""
    return c.stage(**c.with_companions(others))


def make_mixskd(c):
    """A method of its own step, which draws how images are mixed."""
    return c.entry.method(c.network, c.tx, **c.options)


def train_swa(c, *, after=0.5, rate_share=0.5):
    """A rate that stays at `rate_share` behind the part `after` of the steps, where weights are averaged."""
    return swa.averaged_stage(c, after=after, rate_share=rate_share)


METHODS = {
    "bake": Entry(methods.bake, stages=train_bake, objective=bake_objective),
    "byot": Entry(methods.byot),
    "confidence_penalty": Entry(methods.confidence_penalty),
    "cosub": Entry(methods.cosub, objective=cosub_objective),
    "cs_kd": Entry(methods.cs_kd),
    "cyclical": Entry(methods.cyclical),
    "ddgsd": Entry(methods.ddgsd),
    "dks": Entry(methods.dks),
    "dropout": Entry(methods.dropout),
    "focal": Entry(methods.focal),
    "frskd": Entry(methods.frskd),
    "mixskd": Entry(methods.mixskd, make_mixskd),
    "ps_kd": Entry(methods.ps_kd),
    "sad": Entry(methods.sad),
    "sd_dropout": Entry(methods.sd_dropout),
    "supervised": Entry(methods.supervised, objective=labels_objective),
    "swa": Entry(methods.swa, stages=train_swa),
    "tf_kd": Entry(methods.tf_kd),
}


# Of methods with classifiers behind the stages: which, with commas between (all but the last), how many blocks of each stage behind
# the first are copied (all), or smaller heads, bottleneck or separable.
EXITS = {"stages": "", "blocks": (), "heads": "copies"}


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, method="cs_kd", methods="", student="conv_net")
    rates = sections.rates_for(chosen["student"], 0.1, 0.5, 2.0, 5.0)
    if chosen["methods"]:
        own = {"methods": methods_section(tuple(chosen["methods"].split("/")), METHODS)}
    else:
        own = {"method": method_section(chosen["method"], METHODS)}
    return ConfigDict(
        {
            **sections.run_section(seeds=5),
            "data": sections.data_section("digits", batch=64, val_fraction=0.1),
            **sections.students_section(baseline_rates=rates, smoothing=0.1),
            "student_training": sections.training_section(
                chosen["student"], widths=(8, 16), epochs=30, optimiser=sections.sgd_section(0.5)
            ),
            "exits": EXITS,
            **own,
        }
    )


build = partial(self_distillation.build, table=METHODS)
