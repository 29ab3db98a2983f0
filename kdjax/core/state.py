"""The kinds of things a State is made of, and the one walk over them.

A State is any pytree of these kinds and of plain arrays (queues, centres, `step`).
"""

from collections.abc import Callable
from typing import Any

import jax

from kdjax.core.check import InputError
from kdjax.core.node import Node, static


class Learner(Node):
    """Parameters trained by `learn`, the statistics of their net and the state of their optimiser."""

    params: Any
    stats: Any
    opt: Any


class Follower(Node):
    """Parameters that are moved by `ema`, copied, or random and fixed: saved and donated, never differentiated."""

    params: Any
    stats: Any


class Frozen(Node):
    """Parameters that come from outside and never change. Saved by digest only, shared by all members, never donated.

    Attributes:
      source: the digest of the file or stage they came from; static, so that another teacher is another program.
    """

    params: Any
    stats: Any
    source: str = static(default="")


def is_frozen(x: Any) -> bool:
    """Whether a node of a State is `Frozen`."""
    return isinstance(x, Frozen)


def learners_of(state: Any) -> list["Learner"]:
    """The learners of a State, in order."""
    return [x for x in jax.tree.leaves(state, is_leaf=is_learner) if is_learner(x)]


def is_learner(x: Any) -> bool:
    """Whether a node of a State is a `Learner`."""
    return isinstance(x, Learner)


def check_same_form(before: Any, after: Any) -> None:
    """Refuses a step that gives its State another form: other nodes, shapes or dtypes.

    Args:
      before: the State that the step takes, arrays or shapes.
      after: the one that it gives.

    Raises:
      InputError: one line that names the array, or both forms.
    """
    import chex

    try:
        chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    except AssertionError as error:
        found = " ".join(str(error).partition("failed:")[2].split()).replace("Trees 0 and 1 differ in leaves", "they differ in")
        raise InputError(f"the step of a method gives another State than it takes: {found}") from None


class _Hole(Node):
    """Where a `Frozen` part was: a node without arrays."""


def split(state: Any) -> tuple[Any, list[Frozen]]:
    """Takes a State apart into what moves, with a hole in the place of each `Frozen`, and the frozen parts in order."""
    leaves, tree = jax.tree.flatten(state, is_leaf=is_frozen)
    moving = jax.tree.unflatten(tree, [_Hole() if is_frozen(x) else x for x in leaves])
    return moving, [x for x in leaves if is_frozen(x)]


def join(moving: Any, frozen: list[Frozen]) -> Any:
    """The inverse of `split`."""
    left = iter(frozen)
    fill = lambda x: next(left) if isinstance(x, _Hole) else x  # noqa: E731
    return jax.tree.map(fill, moving, is_leaf=lambda x: isinstance(x, _Hole))


def map_by_kind(state: Any, moving: Callable, frozen: Callable, step: Callable) -> Any:
    """Maps every array of a State by its kind: `Frozen` parts, the shared counter `step`, and all that moves."""

    def one(path, x):
        if is_frozen(x):
            return jax.tree.map(frozen, x)
        return step(x) if path and getattr(path[-1], "name", None) == "step" else moving(x)

    return jax.tree_util.tree_map_with_path(one, state, is_leaf=is_frozen)
