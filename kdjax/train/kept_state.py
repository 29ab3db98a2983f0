"""What a finished stage keeps of its State beside its networks, so that it can be measured again."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import Frozen, InputError, join, split
from kdjax.train.members import member, stack
from kdjax.train.program import reads
from kdjax.train.stage import Stage, blank_batch


def networks(stage: Stage, state: Any) -> OrderedDict:
    """The networks that a stage trains, in the order of the method: the first is the one to ship."""
    found = stage.method.weights(state)
    # Plain dicts come out of tree maps in alphabetical order.
    return OrderedDict((n, {"params": p, "stats": s}) for n, (p, s) in found.items() if n not in stage.method.needs)


def state_shapes(stage: Stage, given: Mapping[str, Frozen]) -> Any:
    """The State of one member, as shapes."""
    return jax.eval_shape(lambda key: stage.method.init(key, blank_batch(stage), dict(given)), jax.random.key(0))


def beside_networks(stage: Stage, states: list[Any], batch: Any) -> dict[str, np.ndarray]:
    """The arrays that evaluation reads and that are none of the networks, `[members, ...]` each, by their number in the State.

    Args:
      stage: whose.
      states: of the members.
      batch: of rows as they are read, or its shapes.
    """
    wanted = _wanted(stage, states[0], batch)
    leaves = [jax.tree.leaves(split(state)[0]) for state in states]
    return {_name(i): np.stack([np.asarray(one[i]) for one in leaves]) for i in wanted}


def whole_state(
    stage: Stage, given: Mapping[str, Frozen], weights: Mapping[str, Any], beside: Mapping[str, np.ndarray], batch: Any
) -> Any:
    """A State with members that is evaluated as the one that was kept; what evaluation does not read is 0.

    Args:
      stage: whose.
      given: the weights it was given.
      weights: its networks with members.
      beside: as `beside_networks` gave them.
      batch: likewise.

    Raises:
      InputError: where that is not what evaluation reads.
    """
    shapes = state_shapes(stage, given)
    moving, blank = split(shapes)
    leaves, tree = jax.tree.flatten(moving)
    wanted = {_name(i): leaves[i] for i in _wanted(stage, shapes, batch)}
    if {k: (x.shape, x.dtype) for k, x in wanted.items()} != {k: (x.shape[1:], x.dtype) for k, x in beside.items()}:
        raise InputError("what was kept of its state is not what evaluation reads")
    places, by_source = _places(stage, shapes), {value.source: value for value in given.values()}
    frozen = [by_source[x.source] for x in blank]

    def one(number):
        own = dict(jax.tree_util.tree_leaves_with_path(member(dict(weights), number)))
        found = [jnp.zeros(x.shape, x.dtype) for x in leaves]
        for i, path in places.items():
            found[i] = jnp.asarray(own[path])
        for name, x in beside.items():
            found[int(name)] = jnp.asarray(x[number])
        return join(jax.tree.unflatten(tree, found), frozen)

    members = jax.tree.leaves(dict(weights))[0].shape[0]
    return stack([one(i) for i in range(members)])


def _wanted(stage: Stage, state: Any, batch: Any) -> list[int]:
    """Which arrays of a State evaluation reads that are none of the networks; samples may be drawn from any."""
    moving, frozen = split(state)
    read = range(len(jax.tree.leaves(moving)))
    if stage.samples is None:
        read = reads(
            lambda moving, frozen, batch: stage.method.predict(join(moving, frozen), stage.view(batch)), moving, frozen, batch
        )
    return [i for i in read if i not in _places(stage, state)]


def _places(stage: Stage, state: Any) -> dict[int, tuple]:
    """Where among the networks an array of a State lies, by its number; empty where the method computes its networks."""
    moving, frozen = split(state)
    leaves, tree = jax.tree.flatten(moving)
    marks = [object() for _ in leaves]
    numbers = {id(mark): i for i, mark in enumerate(marks)}
    try:
        found = networks(stage, join(jax.tree.unflatten(tree, marks), frozen))
    except (TypeError, AttributeError, ValueError):
        return {}
    return {numbers[id(x)]: path for path, x in jax.tree_util.tree_leaves_with_path(dict(found)) if id(x) in numbers}


def _name(i: int) -> str:
    return f"{i:05d}"
