"""What modules of other libraries are called with, and what they return, as taps."""

from collections.abc import Callable, Mapping
from typing import Any

from kdjax.core.check import InputError
from kdjax.core.net import kind_of
from kdjax.core.tree_paths import by_path


def arguments_of(x: Any) -> tuple[Any, ...]:
    """What a module is called with: a tuple's parts one by one."""
    return x if type(x) is tuple else (x,)


def taps_of(out: Any, taps: Callable[[Any], Mapping[str, Any]] | None) -> dict[str, Any]:
    """The output of a module as taps."""
    out = taps(out) if taps else out
    if out is None or isinstance(out, tuple | list):
        raise InputError(f"a module returned {kind_of(out)}: expected an array or a dict of arrays, or taps=lambda out: {{...}}")
    if not isinstance(out, Mapping):
        return {"logits": out}
    found = {}  # in the module's order
    for name, inside in out.items():
        for path, x in by_path(inside).items():
            found[f"{name}/{path}" if path else str(name)] = x
    return found


def sown(found: Any) -> dict[str, Any]:
    """What modules sowed, a tuple under each name, as taps."""
    alone = {name: x[0] if isinstance(x, tuple) and len(x) == 1 else x for name, x in flatten(found).items()}
    return taps_of(alone, None)


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """What nested dicts hold by path; what modules sow are tuples, which stay."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {k: v for name, sub in tree.items() for k, v in flatten(sub, f"{prefix}/{name}" if prefix else str(name)).items()}
