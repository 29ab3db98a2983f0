"""Digests: of arrays, of settings, of the code that ran."""

import hashlib
import json
from functools import lru_cache
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
    """sha256 over the sources of the package, and of what builds stages in `configs/` beside it: another code, another result."""
    root = Path(__file__).parents[1]
    sources = [*sorted(root.rglob("*.py")), *sorted(root.parent.glob("configs/_*.py"))]
    return of_json({str(p.relative_to(root.parent)): p.read_text() for p in sources})


@lru_cache
def of_platform() -> dict[str, Any]:
    """What a bit-for-bit repetition needs to be the same: device kind and count, versions."""
    import flax
    import jaxlib
    import optax

    versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "flax": flax.__version__, "optax": optax.__version__}
    return {"device": jax.devices()[0].device_kind, "devices": jax.device_count(), **versions}
