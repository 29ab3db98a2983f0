"""Peers without a teacher, by any method of `method=` or by several of `methods=`, beside one network alone.

    python launch/main.py --config=configs/mutual.py:method=kdcl --config.peers=3 --workdir=runs/peers
    python launch/main.py --config=configs/mutual.py:methods=independent/dml/kdcl --workdir=runs/table

The plain names of results are those of the first peer, which is the one that is shipped, never the best of them; beside it stand
the mean over peers, their ensemble and how often they disagree. `independent` trains the same peers without imitation: what its
ensemble is worth costs as much as theirs.
"""

from functools import partial

from ml_collections import ConfigDict

from kdjax import methods
from kdjax.experiment import mutual, sections, self_distillation
from kdjax.experiment.entry import Entry, method_section, methods_section


def train_hssakd(c):
    """Branches behind the stages of each peer."""
    return methods.hssakd(c.peers, c.branches, c.tx, **c.options)


def train_kdcl(c):
    """A view of its own for each peer."""
    return methods.kdcl(c.peers, c.tx, **c.options), c.views


METHODS = {
    "cl_ilr": Entry(methods.cl_ilr),
    "dml": Entry(methods.dml),
    "ffl": Entry(methods.ffl),
    "hssakd": Entry(methods.hssakd, train_hssakd),
    "independent": Entry(partial(methods.dml, weight=0.0, simultaneous=True)),
    "kdcl": Entry(methods.kdcl, train_kdcl),
    "mfef": Entry(methods.mfef),
    "okddip": Entry(methods.okddip),
    "one": Entry(methods.one),
}


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, method="dml", methods="", student="conv_net")
    if chosen["methods"]:
        own = {"methods": methods_section(tuple(chosen["methods"].split("/")), METHODS)}
    else:
        own = {"method": method_section(chosen["method"], METHODS)}
    return ConfigDict(
        {
            **sections.run_section(seeds=5),
            "data": sections.data_section("digits", batch=64, val_fraction=0.1),
            **sections.students_section(baseline_rates=sections.rates_for(chosen["student"], 0.1, 0.5, 2.0, 5.0), smoothing=0.1),
            "peers": 2,
            "student_training": sections.training_section(
                chosen["student"], widths=(8, 16), epochs=30, optimiser=sections.sgd_section(0.5)
            ),
            **own,
        }
    )


build = partial(self_distillation.build, table=METHODS, taught=mutual.peer_stages)
