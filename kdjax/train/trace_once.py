"""A stage whose method is traced once for all programs of a run."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from kdjax.core import Method
from kdjax.core.state import is_frozen
from kdjax.train.stage import Stage


class TracedOnce(Method):
    """A Method whose `init` and `step` repeat the program that their first call for arguments of a form has traced."""

    __slots__ = ()


def trace_once(stage: Stage) -> Stage:
    """The same stage, whose method is traced once, though a run rehearses it, tells its identity and compiles it.

    A method for a mapped axis stays as it is: what it traces follows from what maps it.
    """
    method = stage.method
    if stage.unmapped or isinstance(method, TracedOnce):
        return stage
    once = TracedOnce(*method._replace(init=traced_once(method.init), step=traced_once(method.step)))
    return stage._replace(method=once)


def traced_once(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of pytrees of arrays that Python runs once for arguments of the same forms, shapes and dtypes.

    Later calls repeat the program that the first one has traced. Sources of `Frozen` weights change no program. With numbers of
    Python among its arguments it is called as it is, since these may be checked; so must be a function under a mapped axis, and
    on a mesh of Explicit axes, where a trace is good for one place only.

    >>> double = traced_once(lambda x: print("traced") or 2 * x)
    >>> float(jax.jit(double)(1.0)), float(jax.jit(lambda x: double(x) + 1)(2.0))
    traced
    (2.0, 5.0)
    """
    known = {}

    @wraps(f)
    def call(*args: Any) -> Any:
        sources = sorted({x.source for x in jax.tree.leaves(args, is_leaf=is_frozen) if is_frozen(x)})
        marks = {source: f"{i}th of {len(sources)}" for i, source in enumerate(sources)}
        leaves, tree = jax.tree.flatten(_renamed(args, marks))
        if not all(isinstance(x, jax.Array | np.ndarray) for x in leaves):
            return f(*args)
        types = [jax.typeof(x) for x in leaves]
        key = tree, tuple((t.shape, t.dtype, t.weak_type) for t in types)
        if key not in known:
            shapes = [jax.ShapeDtypeStruct(t.shape, t.dtype, weak_type=t.weak_type) for t in types]
            program, out = jax.make_jaxpr(lambda *x: f(*jax.tree.unflatten(tree, x)), return_shape=True)(*shapes)
            known[key] = jaxpr_as_fun(program), jax.tree.structure(out)
        program, form = known[key]
        return _renamed(jax.tree.unflatten(form, program(*leaves)), {mark: source for source, mark in marks.items()})

    return call


def _renamed(tree: Any, sources: dict[str, str]) -> Any:
    """A tree whose frozen weights have other sources."""
    return jax.tree.map(lambda x: x.replace(source=sources.get(x.source, x.source)) if is_frozen(x) else x, tree, is_leaf=is_frozen)
