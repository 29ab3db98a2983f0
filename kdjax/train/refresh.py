"""What a stage does to its State between steps, such as a k-means over all rows."""

from collections.abc import Callable
from typing import Any

import jax

from kdjax.core import join, split
from kdjax.train.collect import Collector
from kdjax.train.devices import place, within_process
from kdjax.train.members import stack, unstack
from kdjax.train.run import Run
from kdjax.train.stage import Stage, seeds_of


def refresher(stage: Stage, run: Run, splits: dict, arrays: Any) -> Callable:
    """Makes `(moving, frozen, step) -> moving`: at the steps of a refresh, after that of every member with a key of its own."""
    renew = stage.refresh
    if renew is None or not stage.refresh_every:
        return lambda moving, frozen, step: moving
    # The teacher's outputs are no rows.
    rows = None if arrays is None else {name: x for name, x in arrays.items() if name != "teacher"}
    own = {} if stage.source is None else {"train": rows or stage.source}
    ask = Collector(stage.method.predict, run, splits | own, stage.view, needs=stage.method.needs)

    def refresh(moving, frozen, step):
        if step % stage.refresh_every and step < stage.steps:
            return moving
        key, states = jax.random.fold_in(jax.random.fold_in(jax.random.key(run.data_seed), 2), step), []
        for one, seed in zip(unstack(within_process(join(moving, frozen))), seeds_of(stage, run.seed), strict=True):
            collect = ask(place(stack([one]), run.devices, lead=1), alone=True)
            states.append(renew(collect, one, step, jax.random.fold_in(key, seed)))
        return place(split(stack(states))[0], run.devices, lead=1)

    return refresh
