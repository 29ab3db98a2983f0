"""The optimiser that a section of a config describes."""

from collections.abc import Mapping
from typing import Any

import optax

from kdjax.core import InputError, pick
from kdjax.train.optimiser import OPTIMISERS, schedule


def make_optimiser(section: Mapping[str, Any], steps: int, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optax transformation that a plain section describes, for a run of `steps`."""
    options = dict(section)
    name, rate = options.pop("name"), options.pop("learning_rate")
    warmup = round(options.pop("warmup_epochs") * steps_per_epoch)
    timed = schedule(
        options.pop("schedule"), rate, steps=steps, warmup=warmup, drops=options.pop("drops"), last_share=options.pop("last_share")
    )
    try:
        return pick("optimiser", name, OPTIMISERS)(timed, **options)
    except TypeError as error:
        raise InputError(f"optimiser {name!r}: {error}; give it its own fields") from None
