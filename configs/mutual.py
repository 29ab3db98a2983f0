"""Peers without a teacher, by any method of `method=` or by several of `methods=`, beside one network alone.

    python launch/main.py --config=configs/mutual.py:method=kdcl --config.peers=3 --workdir=runs/peers
    python launch/main.py --config=configs/mutual.py:methods=independent/dml/kdcl --workdir=runs/table

The plain names of results are those of the first peer, which is the one that is shipped, never the best of them; beside it stand
the mean over peers, their ensemble and how often they disagree. `independent` trains the same peers without imitation: what its
ensemble is worth costs as much as theirs.

Every method has the weight decay of `student_training.optimiser`, 5e-4 as in the published runs but for those of `ffl`, which have
1e-4: `--config.student_training.optimiser.weight_decay=1e-4`. That of `kdcl` was not at hand.
"""

from functools import partial

from ml_collections import ConfigDict

from kdjax import methods
from kdjax.core import check_option
from kdjax.experiment import mutual, sections
from kdjax.experiment.entry import Entry, methods_section
from kdjax.methods.mutual.kdcl import refresh_shares


def train_hssakd(c):
    """Branches behind the stages of each peer."""
    return methods.hssakd(c.peers, c.branches, c.tx, **c.options)


def train_kdcl(c):
    """A view of its own for each peer; the shares of the target `general` are found anew for every epoch."""
    fields = {}
    if c.settings["target"] == "general":
        what = "validation images, of --config.data.val_fraction above 0"
        check_option("target", "general", lambda _: c.dataset.val is not None, what)
        fields = {"refresh": refresh_shares, "refresh_every": c.steps_per_epoch}
    return c.stage(lambda c: (methods.kdcl(c.peers, c.tx, **c.options), c.views), **fields)


METHODS = {
    "cl_ilr": Entry(methods.cl_ilr),
    "dml": Entry(methods.dml),
    "ffl": Entry(methods.ffl),
    "hssakd": Entry(methods.hssakd, train_hssakd),
    "independent": Entry(partial(methods.dml, weight=0.0, simultaneous=True)),
    "kdcl": Entry(methods.kdcl, stages=train_kdcl),
    "mfef": Entry(methods.mfef),
    "okddip": Entry(methods.okddip),
    "one": Entry(methods.one),
}


EPOCHS = 30
PUBLISHED_EPOCHS = 300  # of those methods whose imitation is faded in


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, method="dml", methods="", student="conv_net")
    names = tuple((chosen["methods"] or chosen["method"]).split("/"))
    found = methods_section(names, METHODS, share=EPOCHS / PUBLISHED_EPOCHS)
    own = {"methods": found} if chosen["methods"] else {"method": found[names[0]]}
    return ConfigDict(
        {
            **sections.run_section(seeds=5),
            "data": sections.data_section("digits", batch=64, val_fraction=0.1),
            **sections.students_section(baseline_rates=sections.rates_for(chosen["student"], 0.1, 0.5, 2.0, 5.0), smoothing=0.1),
            "peers": 2,
            "student_training": sections.training_section(
                chosen["student"], widths=(8, 16), epochs=EPOCHS, optimiser=sections.sgd_section(0.5)
            ),
            **own,
        }
    )


build = partial(mutual.build, table=METHODS)
