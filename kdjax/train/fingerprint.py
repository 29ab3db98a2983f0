"""Digests: of arrays, of settings, of the code that ran."""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import jax
import numpy as np


def of_array(x: Any) -> str:
    """sha256 of an array's dtype, shape and bytes."""
    x = np.asarray(x)
    head = f"{x.dtype.name}{x.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(x).tobytes()).hexdigest()


def of_tree(tree: Any) -> str:
    """sha256 over the paths and arrays of a pytree."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    return of_json([[jax.tree_util.keystr(path, simple=True, separator="/"), of_array(x)] for path, x in found])


def of_json(value: Any) -> str:
    """sha256 of a JSON value; keys in order, tuples as lists."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@lru_cache
def of_code() -> str:
    """sha256 over the sources of the package: another code, another result."""
    root = Path(__file__).parents[1]
    return of_json({str(p.relative_to(root.parent)): p.read_text() for p in sorted(root.rglob("*.py"))})


def of_program(file: Path) -> str:
    """sha256 over a file of Python and all that it imports, however far away, by the names of modules.

    Left out are the standard library and installed packages, which `of_platform` tells the versions of, and kdjax (`of_code`).
    What is imported by a name that the program makes up, and files that it reads, are not seen.
    """
    digests: dict[str, str] = {}
    waiting = [("", "", file)]
    while waiting:
        name, package, path = waiting.pop()
        if name in digests:
            continue
        content = path.read_bytes()
        digests[name] = hashlib.sha256(content).hexdigest()
        if path.suffix == ".py":
            waiting += [one for imported in _imported(content, package) for one in _own_modules(imported)]
    return of_json(digests)


def _imported(content: bytes, package: str) -> Iterator[str]:
    """What import statements name; `from a import b` names `a.b`, which may be a module or not."""
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            above = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            yield from (f"{above}.{alias.name}" for alias in node.names)


def _own_modules(name: str) -> Iterator[tuple[str, str, Path]]:
    """`(module, package, file)` of a dotted name and of the packages above it, as far as they are no installed ones."""
    parts, places = name.split("."), None
    if parts[0] in sys.stdlib_module_names or parts[0] == "kdjax":
        return
    for i in range(len(parts)):
        module = ".".join(parts[: i + 1])
        spec = _spec(module, places)
        if spec is None:
            return
        file = Path(spec.origin or "")
        if {"site-packages", "dist-packages"} & set(file.parts):
            return
        if spec.has_location:  # a folder without __init__.py has none
            yield module, spec.parent or "", file
        places = spec.submodule_search_locations
        if places is None:
            return


def _spec(module: str, places: Any) -> ModuleSpec | None:
    """Where a module lies; nothing is imported to find out."""
    loaded = getattr(sys.modules.get(module), "__spec__", None)
    return loaded or PathFinder.find_spec(module, places)


@lru_cache
def of_platform() -> dict[str, Any]:
    """What a bit-for-bit repetition needs to be the same: device kind and count, versions."""
    import flax
    import jaxlib
    import optax

    versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "flax": flax.__version__, "optax": optax.__version__}
    return {"device": jax.devices()[0].device_kind, "devices": jax.device_count(), **versions}
