"""The experiment of a network whose submodels teach each other, and of what takes that apart."""

from kdjax import methods
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, by_accuracy
from kdjax.experiment.data import load_data
from kdjax.experiment.entry import Entry
from kdjax.experiment.sections import rates_grid
from kdjax.experiment.self_distillation import OwnContext, shared_fields, taught_by_itself
from kdjax.methods.self_distil.cosub import binary_objective, cosub_objective

TABLE = {
    "binary": Entry(methods.supervised, taught_by_itself, objective=binary_objective),
    "cosub": Entry(methods.cosub, taught_by_itself, objective=cosub_objective),
}


def build(config: Config) -> Experiment:
    """One net with stochastic depth: `once`, `longer`, `twice` and `cosub`, each at a rate of its own.

    `once` learns from the labels by binary cross-entropies; `longer` does so for twice the epochs; `twice` passes each image
    through two submodels, as `cosub`, but without the terms between them. `cosub`, `twice` and `longer` cost the same.

    Args:
      config: filled; the options of the method in its section `cosub`, learning rates to choose from by validation in `rates`.
    """
    dataset = load_data(config)
    settings = plain(config.cosub)
    binary = {"weight": 1.0, "binarised": settings["binarised"]}
    shared = shared_fields(config, dataset)
    longer = shared | {"training": {**shared["training"], "epochs": 2 * shared["training"]["epochs"]}}

    def one(name, method, options, fields=shared):
        c = OwnContext(name=name, method=method, entry=TABLE[method], settings=options, table=TABLE, **fields)
        return c.stage(grid=rates_grid(config.rates))

    stages = {
        **one("once", "binary", binary),
        **one("longer", "binary", binary, longer),
        **one("twice", "cosub", {**settings, "weight": 0.0}),
        **one("cosub", "cosub", settings),
    }
    pairs = [("cosub", other) for other in ("once", "longer", "twice")]
    return Experiment(stages, dataset, by_accuracy([*pairs, ("twice", "once")]))
