"""Digests of what functions compute: of the programs that JAX traces from them, with the constants these hold."""

import enum
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from kdjax.core.tree_paths import path_name
from kdjax.train import fingerprint
from kdjax.train.host_code import of_host_code

# Parameters of equations that change nothing in what is computed: names, places on devices, rules of differentiation that tracing
# has used up.
_NAMES = {"name", "debug_info", "source_info"}
_PLACES = {
    "compiler_options_kvs", "ctx_mesh", "donated_invars", "in_layouts", "in_shardings", "inline", "keep_unused", "out_layouts",
    "out_sharding", "out_shardings", "resource_env", "sharding",
}  # fmt: skip
_RULES = {"bwd", "fwd_jaxpr_thunk", "jvp_jaxpr_fun", "out_trees", "symbolic_zeros"}
_IGNORED = _NAMES | _PLACES | _RULES


def trace(f: Callable, *args: Any) -> tuple[str, Any]:
    """Traces a function on shapes: the digest of its program, and the shapes it returns.

    Equal programs have equal digests, in every process and on any number of devices. Arrays that the function holds count by their
    numbers; names, memory addresses, and where in a file something stands do not.

    Args:
      f: a function of pytrees of arrays.
      *args: its arguments, arrays or shapes; of arrays, too, only the shapes count.

    >>> matrix = np.eye(2)
    >>> one, two = (trace(lambda x, m=m: x @ m, jax.ShapeDtypeStruct((3, 2), np.float32))[0] for m in (matrix, 2 * matrix))
    >>> one == two
    False
    """
    traced, shapes = jax.make_jaxpr(f, return_shape=True)(*args)
    return fingerprint.of_json([_Digests().of(traced), paths(args), paths(shapes)]), shapes


def reads(f: Callable, first: Any, *args: Any) -> list[int]:
    """Which arrays of the first argument, by their numbers, a function looks at, or returns as they are.

    >>> reads(lambda state, x: state["b"] * x, {"a": 1.0, "b": 2.0}, 3.0)
    [1]
    """
    jaxpr = jax.make_jaxpr(f)(first, *args).jaxpr
    used = {x for equation in jaxpr.eqns for x in equation.invars if not isinstance(x, Literal)}
    used |= {x for x in jaxpr.outvars if not isinstance(x, Literal)}
    return [i for i, x in enumerate(jaxpr.invars[: len(jax.tree.leaves(first))]) if x in used]


def paths(tree: Any) -> list[str]:
    """Where the arrays of a pytree lie in it, in their order."""
    return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


class _Digests:
    """Digests of programs; what a program calls many times is looked at once."""

    def __init__(self):
        self._known: dict[int, tuple[Any, str]] = {}

    def of(self, program: Any) -> str:
        """sha256 of a program, whatever its variables are called."""
        known = self._known.get(id(program))
        if known is None:
            known = program, self._digest(program)  # with the program, so that no other one gets its id
            self._known[id(program)] = known
        return known[1]

    def _digest(self, program: Any) -> str:
        jaxpr, constants = (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())
        sha, numbers = hashlib.sha256(), {}

        def define(variables):
            for variable in variables:
                numbers[variable] = len(numbers)
            return [_type(variable.aval) for variable in variables]

        def use(atom):
            return [_value(atom.val), _type(atom.aval)] if isinstance(atom, Literal) else numbers[atom]

        def put(*parts):
            sha.update(f"{parts}\n".encode())

        put([_value(x) for x in constants], define(jaxpr.constvars), define(jaxpr.invars))
        for equation in jaxpr.eqns:
            options = {k: self._option(v) for k, v in sorted(equation.params.items()) if k not in _IGNORED}
            random = equation.ctx.threefry_partitionable
            put(equation.primitive.name, [use(x) for x in equation.invars], options, define(equation.outvars), random)
        put([use(x) for x in jaxpr.outvars])
        return sha.hexdigest()

    def _option(self, x: Any) -> Any:
        if isinstance(x, ClosedJaxpr | Jaxpr):
            return self.of(x)
        if isinstance(x, Mapping):
            return [[str(k), self._option(v)] for k, v in x.items()]
        if isinstance(x, tuple | list):
            return [type(x).__name__, *map(self._option, x)]
        if isinstance(x, np.ndarray | np.generic | jax.Array):
            return _value(x)
        if isinstance(x, enum.Enum) or x is None or isinstance(x, bool | int | float | str | bytes):
            return repr(x)
        return of_host_code(x) if callable(x) and not isinstance(x, type) else _plain(x)


def _value(x: Any) -> str:
    """A constant by its numbers; Python's own numbers and NumPy's scalars of the same type are one."""
    if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return f"{x.dtype} {fingerprint.of_array(jax.random.key_data(x))}"
    if isinstance(x, np.integer) or type(x) is int:
        return repr(int(x))
    return fingerprint.of_array(x)


def _type(aval: Any) -> str:
    return f"{getattr(aval, 'dtype', type(aval).__name__)}{getattr(aval, 'shape', '')}{'~' * bool(getattr(aval, 'weak_type', 0))}"


def _plain(x: Any) -> str:
    """Text of anything, without memory addresses."""
    return f"{type(x).__name__} {re.sub(r'0x[0-9a-fA-F]+', '', str(x))}"
