"""Networks that start from weights one has."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.check import InputError, pick
from kdjax.core.tree_paths import by_path

Weights = tuple[Any, Any]


def started(fresh: Mapping[str, Weights], start: Mapping[str, Any]) -> dict[str, Weights]:
    """Fresh weights by the names of their networks, and in their place copies of those that are given, in the dtypes of the fresh.

    Args:
      fresh: `{name: (params, stats)}`.
      start: likewise, of some of them.

    Raises:
      InputError: for a network that is not there, for what is no such pair, and for the first array that is missing, too many
        or of another shape.

    >>> fresh = {"student": ({"w": jnp.zeros(2)}, {}), "projector": ({"w": jnp.zeros(3)}, {})}
    >>> started(fresh, {"student": ({"w": jnp.ones(2)}, {})})["student"][0]["w"].tolist()
    [1.0, 1.0]
    """
    return {**fresh, **{name: _in_place_of(pick("network", name, fresh), given, name) for name, given in start.items()}}


def _in_place_of(fresh: Weights, given: Any, name: str) -> Weights:
    if not isinstance(given, tuple) or len(given) != 2:
        raise InputError(f"the weights that {name!r} starts from are of type {type(given).__name__}: expected (params, stats)")
    found, wanted = (by_path(dict(zip(("params", "stats"), one, strict=True))) for one in (given, fresh))
    for path in wanted | found:
        one, other = (jnp.shape(side[path]) if path in side else "nothing" for side in (found, wanted))
        if one != other:
            raise InputError(f"the weights that {name!r} starts from have {one} at {path}: expected {other}")
    return jax.tree.unflatten(jax.tree.structure(fresh), [jnp.array(found[path], x.dtype) for path, x in wanted.items()])
