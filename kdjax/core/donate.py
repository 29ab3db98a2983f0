"""A step that reuses the memory of what moves, and leaves what is frozen alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.state import Frozen, join, split


def on_parts(step: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """A step of a State as one of its two parts, of which the first can be donated.

    Args:
      step: `(state, *args) -> (state, out)`.

    Returns:
      `(moving, frozen, *args) -> (moving, out)`, the parts as `split` gives them.
    """

    def step_of_parts(moving: Any, frozen: list[Frozen], *args: Any) -> tuple[Any, Any]:
        new, out = step(join(moving, frozen), *args)
        return split(new)[0], out

    return step_of_parts


def donating(step: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """`jax.jit` of a method's step for a loop of one's own: the old State's memory becomes the new one's.

    All arrays of the State that goes in are deleted but those of its `Frozen` parts, which the new State holds on to:
    `jax.jit(method.step, donate_argnums=0)` would delete the teacher that the caller, or another State, still needs.

    Args:
      step: `(state, batch, key) -> (state, metrics)`, the step of a `Method`.

    Returns:
      the same function, compiled; `state = update(state, batch, key)[0]` is how to call it.

    >>> update = donating(lambda state, batch, key: ({**state, "n": state["n"] + batch}, {}))
    >>> teacher = Frozen({"w": jnp.ones(2)}, {})
    >>> for _ in range(3):
    ...     state, _ = update({"n": jnp.float32(1), "teacher": teacher}, 2.0, None)
    >>> float(state["n"]), teacher.params["w"].tolist()
    (3.0, [1.0, 1.0])
    """
    compiled = jax.jit(on_parts(step), donate_argnums=0)

    def update(state: Any, *args: Any) -> tuple[Any, Any]:
        moving, frozen = split(state)
        moving, out = compiled(_own(moving, frozen), frozen, *args)
        return join(moving, frozen), out

    return update


def _own(moving: Any, frozen: list[Frozen]) -> Any:
    """What moves, with a copy of every array that stands twice in the State: those of a follower, or of a student's teacher."""
    held = {id(x) for x in jax.tree.leaves(frozen)}

    def one(x):
        if id(x) in held:
            return jnp.copy(x)
        held.add(id(x))
        return x

    return jax.tree.map(one, moving)
