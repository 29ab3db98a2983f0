"""Digests: of arrays, of settings, of rows."""

import hashlib
import json
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from kdjax.core.tree_paths import path_name
from kdjax.data import Sampler, Source, numbers_of, read_undamaged, spread_rows

SOME = 6  # rows or steps that stand for all where looking at all would take long


def of_array(x: Any) -> str:
    """sha256 of an array's dtype, shape and bytes."""
    x = np.asarray(x)
    head = f"{x.dtype.name}{x.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(x).tobytes()).hexdigest()


def of_tree(tree: Any) -> str:
    """sha256 over the paths and arrays of a pytree."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    return of_json([[path_name(path), of_array(x)] for path, x in found])


def of_json(value: Any) -> str:
    """sha256 of a JSON value; keys in order, tuples as lists."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=16)
def of_rows(source: Source) -> str:
    """sha256 over which rows of a data set a source has, their labels, and some of them as they are read.

    What the whole set holds, its own digest tells.
    """
    return of_json([source.size, of_array(source.labels()), of_inputs(source)])


@lru_cache(maxsize=16)
def of_inputs(source: Source) -> str:
    """sha256 over the numbers of a source's rows, and over some of them as they are read, labels left out."""
    some, _ = read_undamaged(source, spread_rows(source.size, SOME), skip=True)
    return of_json([of_array(numbers_of(source)), of_tree({name: x for name, x in some.items() if name != "label"})])


def of_sampler(sampler: Sampler, steps: int) -> str:
    """sha256 over the rows that some of the steps see, and the epochs these lie in."""
    some = sorted({1, *spread_rows(steps, SOME).tolist()})
    seen = [[of_array(sampler.rows(0, step)), int(sampler.epoch_of(step))] for step in some]
    return of_json([sampler.batch, sampler.group, sampler.rest, seen])


@lru_cache
def of_platform() -> dict[str, Any]:
    """What a bit-for-bit repetition needs to be the same: device kind and count, versions."""
    import flax
    import jaxlib
    import optax

    versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "flax": flax.__version__, "optax": optax.__version__}
    return {"device": jax.devices()[0].device_kind, "devices": jax.device_count(), **versions}
