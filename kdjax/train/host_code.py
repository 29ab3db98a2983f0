"""Digests of functions that run on the host: of their code, of the code they call, and of the options they hold."""

import dataclasses
import dis
import functools
import hashlib
import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np

from kdjax.data import Source
from kdjax.train import fingerprint

_DOCUMENTED = 0x4000000  # the flag of code whose first constant is its docstring, from Python 3.14 on


def of_host_code(x: Any) -> str:
    """sha256 of a function and of all that it calls, with what it closes over, its defaults and partial arguments.

    Installed packages are left out, but for kdjax. Comments, docstrings, the place in a file and memory addresses do not count;
    another version of Python, which compiles otherwise, does. What is found by a name that the program makes up is not seen.

    Args:
      x: a function, or anything that holds functions, arrays and plain values.

    >>> power = lambda n: lambda x: x**n
    >>> of_host_code(power(2)) == of_host_code(power(2)), of_host_code(power(2)) == of_host_code(power(3))
    (True, False)
    """
    return fingerprint.of_json(_Told().of(x))


class _Told:
    """Values as JSON; each function, class and module once."""

    def __init__(self):
        self._known: dict[int, tuple[Any, Any]] = {}

    def of(self, x: Any) -> Any:
        """JSON that is equal for values that are."""
        if x is None or isinstance(x, bool | int | float | str | bytes | complex):
            return repr(x)
        if id(x) not in self._known:
            self._known[id(x)] = x, f"inside {getattr(x, '__qualname__', type(x).__name__)}"  # for what leads back to itself
            self._known[id(x)] = x, hashlib.sha256(repr(self._tell(x)).encode()).hexdigest()
        return self._known[id(x)][1]

    def _tell(self, x: Any) -> Any:
        if isinstance(x, Source):
            return ["source", fingerprint.of_rows(x)]
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return fingerprint.of_array(jax.random.key_data(x))
        if isinstance(x, np.ndarray | np.generic | jax.Array):
            return fingerprint.of_array(x)
        if isinstance(x, functools.partial):
            return ["partial", self.of(x.func), self.of(x.args), self.of(x.keywords)]
        if isinstance(x, MethodType):
            return ["method", self.of(x.__func__), self.of(x.__self__)]
        if isinstance(x, FunctionType):
            return self._function(x)
        if isinstance(x, type):
            return self._class(x)
        if isinstance(x, ModuleType | BuiltinFunctionType):
            return ["named", getattr(x, "__qualname__", x.__name__)]
        if isinstance(x, Mapping):
            return ["mapping", [[self.of(k), self.of(v)] for k, v in x.items()]]
        if isinstance(x, Set):
            return ["set", sorted(self.of(v) for v in x)]
        if isinstance(x, tuple | list):
            return [self.of(type(x)) if hasattr(x, "_fields") else "list", [self.of(v) for v in x]]
        if inside := getattr(x, "__wrapped__", None):  # of jit, lru_cache, wraps
            return ["wrapped", self.of(inside)]
        return self._object(x)

    def _function(self, f: FunctionType) -> Any:
        if not _is_own(f.__module__):
            return ["installed", f.__module__, f.__qualname__]
        cells = [self._cell(cell) for cell in f.__closure__ or ()]
        named = [[name, self.of(value)] for name, value in _named(f.__code__, f.__globals__)]
        return ["function", _code(f.__code__), cells, self.of(f.__defaults__), self.of(f.__kwdefaults__), named]

    def _cell(self, cell: Any) -> Any:
        try:
            return self.of(cell.cell_contents)
        except ValueError:  # not filled yet
            return "empty"

    def _class(self, c: type) -> Any:
        if not _is_own(c.__module__):
            return ["installed", c.__module__, c.__qualname__]
        functions = [v for v in vars(c).values() if isinstance(v, FunctionType) and v.__module__ == c.__module__]
        return ["class", c.__qualname__, [self.of(b) for b in c.__bases__], [self.of(f) for f in functions]]

    def _object(self, x: Any) -> Any:
        if dataclasses.is_dataclass(x):
            fields = {field.name: getattr(x, field.name, None) for field in dataclasses.fields(x)}
        else:
            fields = dict(vars(x)) if hasattr(x, "__dict__") else {}
        told = [self.of(type(x)), [[name, self.of(value)] for name, value in fields.items()]]
        return told if fields else [*told, re.sub(r"0x[0-9a-fA-F]+", "", repr(x))]


def _is_own(module: str | None) -> bool:
    """Whether a module is kdjax's, or of nobody who installed it."""
    top = (module or "").partition(".")[0]
    if top == "kdjax" or top in sys.stdlib_module_names or top not in sys.modules:
        return top == "kdjax"
    file = getattr(sys.modules[top], "__file__", None)
    return top == "__main__" or file is None or not {"site-packages", "dist-packages"} & set(Path(file).parts)


def _code(code: CodeType) -> Any:
    """What a function does, without its docstring, its name and its place in a file."""
    constants = list(code.co_consts)
    flagged = sys.version_info < (3, 14) or bool(code.co_flags & _DOCUMENTED)
    if flagged and constants and isinstance(constants[0], str) and not code.co_name.startswith("<"):
        constants[0] = None
    told = [_code(x) if isinstance(x, CodeType) else repr(sorted(x)) if isinstance(x, frozenset) else repr(x) for x in constants]
    return [code.co_code.hex(), told, list(code.co_names), code.co_exceptiontable.hex()]


def _named(code: CodeType, space: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The functions, classes and values that code names: in its module, in kdjax's modules, and those that it imports itself."""
    waiting = {name: space[name] for name in code.co_names if name in space}
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME" and _is_own(step.argval):
            waiting[step.argval] = importlib.import_module(step.argval)
    found, seen = {}, set()
    while waiting:
        name, value = waiting.popitem()
        if not isinstance(value, ModuleType):
            found[name] = value
        elif _is_own(value.__name__) and value.__name__ not in seen:
            seen.add(value.__name__)
            waiting |= {f"{value.__name__}.{x}": getattr(value, x) for x in code.co_names if hasattr(value, x)}
    yield from sorted(found.items(), key=lambda one: one[0])
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _named(inner, space)
