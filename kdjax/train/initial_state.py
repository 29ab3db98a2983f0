"""The State that a stage starts from."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core import Frozen, jit_fast_compile, join, split
from kdjax.train.members import stack
from kdjax.train.run import Run
from kdjax.train.stage import Result, Stage, blank_batch, seeds_of, sources_of
from kdjax.train.start import begin


def initial_state(stage: Stage, run: Run, given: dict[str, Frozen], results: dict[str, Result]) -> Any:
    """The State at step 0, members stacked."""
    # Frozen parts are traced as zeros and put back, so that no compiled program holds a teacher's weights.
    by_source = {value.source: value for value in given.values()}
    init = jit_fast_compile(lambda key: stage.method.init(key, blank_batch(stage), jax.tree.map(jnp.zeros_like, given)))
    states = []
    for number, seed in enumerate(seeds_of(stage, run.seed)):
        moving, blank = split(init(jax.random.fold_in(jax.random.key(seed), 0)))
        one = join(moving, [by_source[x.source] for x in blank])
        for start in stage.start:
            one = begin(stage.method, one, start, number % (stage.seeds or stage.members))
        states.append(_warm_started(stage, one, results, number))
    state = stack(states)
    if stage.hyper:
        state = state._replace(hyper={k: jnp.asarray(v, jnp.float32) for k, v in stage.hyper.items()})
    return state


def _warm_started(stage: Stage, state: Any, results: dict, number: int) -> Any:
    """A member's State with weights of an earlier stage; the points of a sweep go on from the same ones, a seed each."""
    if stage.warm_start is None:
        return state
    each, member = tuple(results[name] for name in sources_of(stage)), number % (stage.seeds or stage.members)
    found = each if isinstance(stage.warm_start_from, tuple) else each[0]
    if stage.hyper:
        return state._replace(inner=stage.warm_start(state.inner, found, member))
    return stage.warm_start(state, found, member)
