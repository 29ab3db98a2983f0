"""The optimiser that a section of a config describes."""

from collections.abc import Mapping
from typing import Any

import optax

from kdjax.core import InputError, ascend, check_option, cyclic_schedule, pick, with_norms
from kdjax.train.optimiser import OPTIMISERS, schedule


def make_optimiser(section: Mapping[str, Any], steps: int, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optax transformation that a plain section describes, for a run of `steps`."""
    options = dict(section)
    name, rate = options.pop("name"), options.pop("learning_rate")
    warmup = round(options.pop("warmup_epochs") * steps_per_epoch)
    timed = schedule(
        options.pop("schedule"), rate, steps=steps, warmup=warmup, drops=options.pop("drops"), last_share=options.pop("last_share")
    )
    radius, cycle = options.pop("ascent", 0.0), options.pop("cycle", 2.0)
    norms = options.pop("norms", False)
    for ranged in ("weight_decay", "clip"):
        if span := options.pop(f"{ranged}_range", ()):
            check_option(f"{ranged}_range", tuple(span), lambda _, ranged=ranged: ranged in options, f"() with optimiser {name!r}")
            epochs = max(steps // steps_per_epoch, 1)
            options[ranged] = cyclic_schedule(f"{ranged}_range", span, steps_per_epoch=steps_per_epoch, epochs=epochs, cycle=cycle)
    try:
        tx = pick("optimiser", name, OPTIMISERS)(timed, **options)
        tx = with_norms(tx) if norms else tx
        return ascend(tx, radius) if radius else tx
    except TypeError as error:
        raise InputError(f"optimiser {name!r}: {error}; give it its own fields") from None
