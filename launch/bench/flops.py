"""The arithmetic of a program: that of its convolutions and matrix products."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax


def count_flops(f: Callable, *args: Any) -> int:
    """Floating-point operations of the convolutions and products of matrices in one call, two for a multiplication and its sum.

    Loops count as often as they run, of the branches of a choice the dearest, and what no result needs does not count. XLA's own
    `cost_analysis` counts the body of a loop once. Zeros that a stride puts between the pixels of a gradient are no work;
    those around an image are. Sums of products of equal shape,
    as depthwise convolutions are written on a CPU, are not seen.

    Args:
      f: a function of pytrees of arrays.
      *args: its arguments, arrays or shapes.

    >>> import jax.numpy as jnp
    >>> count_flops(lambda x: jax.lax.scan(lambda y, _: (x @ y, None), x, None, length=10)[0], jnp.ones((4, 4)))
    1280
    """
    jaxpr = jax.make_jaxpr(f)(*args).jaxpr
    return _of(jaxpr, [True] * len(jaxpr.outvars))


def _of(jaxpr: Any, live: Sequence[bool]) -> int:
    """Of a program of whose results some are needed."""
    needed = {x for x, alive in zip(jaxpr.outvars, live, strict=True) if alive and not hasattr(x, "val")}
    total = 0
    for equation in reversed(jaxpr.eqns):
        alive = [x in needed for x in equation.outvars]
        if any(alive) or equation.effects:
            total += _cost(equation, alive)
            needed |= {x for x in equation.invars if not hasattr(x, "val")}
    return total


def _cost(equation: Any, alive: list[bool]) -> int:
    name, options = equation.primitive.name, equation.params
    if name == "dot_general":
        (over, _), _ = options["dimension_numbers"]
        return 2 * equation.outvars[0].aval.size * math.prod(equation.invars[0].aval.shape[i] for i in over)
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval, options["dimension_numbers"].rhs_spec
        each = kernel.size // kernel.shape[numbers[0]]  # numbers that a pixel of a channel is made of
        return 2 * equation.outvars[0].aval.size * each // math.prod(options["lhs_dilation"])
    if name == "scan":
        turn = _program(options["jaxpr"])
        carried = [x.aval.ndim == stacked.aval.ndim for x, stacked in zip(turn.outvars, equation.outvars, strict=True)]
        return options["length"] * _of(turn, [any(pair) for pair in zip(carried, alive, strict=True)])
    if name == "cond":
        return max(_of(_program(branch), alive) for branch in options["branches"])
    times = options["mesh"].size if name == "shard_map" else options.get("axis_size", 1) if name == "pmap" else 1
    return times * sum(
        _of(inside, alive if len(inside.outvars) == len(alive) else [True] * len(inside.outvars)) for inside in _inside(options)
    )


def _inside(options: dict) -> Iterator[Any]:
    """The programs that an equation calls."""
    for value in options.values():
        if hasattr(_program(value), "eqns"):
            yield _program(value)


def _program(value: Any) -> Any:
    """A program without the constants that it is closed over."""
    return getattr(value, "jaxpr", value)
