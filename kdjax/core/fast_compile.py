"""Programs that run once."""

from collections.abc import Callable
from typing import Any

import jax


def jit_fast_compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` for what runs once or a few times, such as the initialisation of a network.

    On a CPU the program is compiled without XLA's optimisations: drawing the weights of a deep network then compiles several times
    faster, and equal keys still give equal bits.

    >>> float(jit_fast_compile(lambda x: 2 * x)(1.5))
    3.0
    """
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=quick)
