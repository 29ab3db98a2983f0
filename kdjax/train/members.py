"""Several members of one method (seeds, points of a sweep) in one program.

All that moves in a State has a leading axis of members; `Frozen` parts and the counter `step` are shared: a batched counter
would turn every `lax.cond` on it into both branches.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core import check_option
from kdjax.core.state import map_by_kind

HOW = ("auto", "map", "vmap")


def resolve(how: str, members: int) -> str:
    """The way members run: one after another (`map`) or batched (`vmap`).

    On CPU a vmapped convolution becomes a grouped one. Measured with five students (16, 32, 64) of a teacher (32, 64, 128), batch
    64, a block of 20 steps on two cores: 1.4 s for `map` and 5.3 s for `vmap` on 28x28 images; on 8x8 images the two are equal,
    though `vmap` asks the teacher once and `map` once a member. Accelerators, which one small net leaves idle, get `vmap`; that is
    not measured yet.
    """
    check_option("members", how, lambda h: h in HOW, ", ".join(HOW))
    if how != "auto":
        return how
    return "map" if members == 1 or jax.default_backend() == "cpu" else "vmap"


def over_members(f: Callable, how: str, state: Any, *own: bool) -> Callable:
    """Lifts `f(state, *args) -> (state or None, out)` over the members of a State.

    Args:
      f: a function of one member's State.
      how: `"map"` or `"vmap"`.
      state: a State with members (arrays or shapes), for the kinds of its arrays.
      *own: for each further argument, whether every member has its own (a leading axis) or all share it.

    Returns:
      the same function of a State with members; `out` gains the axis of members.
    """
    kinds = _kinds(state)
    members = next(x.shape[0] for x, kind in zip(jax.tree.leaves(state), kinds, strict=True) if kind == "moving")

    def lifted(state, *args):
        leaves, tree = jax.tree.flatten(state)

        def one(moving, owned):
            parts = {"moving": iter(moving), "frozen": iter(_of(leaves, kinds, "frozen")), "step": iter(_of(leaves, kinds, "step"))}
            whole = jax.tree.unflatten(tree, [next(parts[kind]) for kind in kinds])
            mine = iter(owned)
            new, out = f(whole, *(next(mine) if o else a for a, o in zip(args, own, strict=True)))
            if new is None:
                return (), (), out
            new = jax.tree.leaves(new)
            return _of(new, kinds, "moving"), _of(new, kinds, "step"), out

        rows = _of(leaves, kinds, "moving"), [a for a, o in zip(args, own, strict=True) if o]
        if members == 1:  # no loop at all: XLA sees a plain step
            moving, steps, out = one(*member(rows, 0))
            moving, out = jax.tree.map(lambda x: jnp.asarray(x)[None], (moving, out))
        elif how == "vmap":
            moving, steps, out = jax.vmap(one, out_axes=(0, None, 0))(*rows)
        else:
            moving, steps, out = lax.map(lambda both: one(*both), rows)
            steps = [x[0] for x in steps]  # the same for all
        if not moving:
            return None, out
        parts = {"moving": iter(moving), "frozen": iter(_of(leaves, kinds, "frozen")), "step": iter(steps)}
        return jax.tree.unflatten(tree, [next(parts[kind]) for kind in kinds]), out

    return lifted


def stack(states: list[Any]) -> Any:
    """One State with members from the States of single members."""
    kinds = _kinds(states[0])
    columns = zip(*(jax.tree.leaves(s) for s in states), strict=True)
    leaves = [jnp.stack(column) if kind == "moving" else column[0] for column, kind in zip(columns, kinds, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(states[0]), leaves)


def unstack(state: Any) -> list[Any]:
    """The inverse of `stack`."""
    kinds, (leaves, tree) = _kinds(state), jax.tree.flatten(state)
    members = next(x.shape[0] for x, kind in zip(leaves, kinds, strict=True) if kind == "moving")
    return [
        jax.tree.unflatten(tree, [x[i] if kind == "moving" else x for x, kind in zip(leaves, kinds, strict=True)])
        for i in range(members)
    ]


def member(tree: Any, i: int) -> Any:
    """Member `i` of a pytree whose every array has a leading axis of members."""
    return jax.tree.map(lambda x: x[i], tree)


def _kinds(state: Any) -> list[str]:
    marked = map_by_kind(state, moving=lambda _: "moving", frozen=lambda _: "frozen", step=lambda _: "step")
    return jax.tree.leaves(marked)


def _of(leaves: list, kinds: list[str], kind: str) -> list:
    return [x for x, k in zip(leaves, kinds, strict=True) if k == kind]
