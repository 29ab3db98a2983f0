"""What a network sees of a batch where that is more, or less, than its rows."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core import InputError
from kdjax.core.images import inputs_of


def both_views(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The two views of each image as rows 2i and 2i + 1, and every other column twice: each device keeps its own.

    Raises:
      InputError: for a batch without two views of one size.
    """
    views = batch.get("views", ())
    if len(views) != 2 or views[0].shape != views[1].shape:
        found = ", ".join(str(list(x.shape)) for x in views) or "none"
        raise InputError(f"a batch has as views {found}: expected two of one size")
    rows = len(views[0])
    others = {name: x for name, x in batch.items() if name not in ("views", "image")}
    return each_twice(others) | {"image": jnp.stack(views, axis=1).reshape(2 * rows, *views[0].shape[1:])}


def each_twice(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Every row as rows 2i and 2i + 1: what a network draws for its rows differs between the two."""
    return jax.tree.map(lambda x: jnp.stack([x, x], axis=1).reshape(-1, *x.shape[1:]), dict(batch))


def parted(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows `[2B, ...]` of pairs 2i and 2i + 1 to the first and the second ones, `[B, ...]`: of `both_views`, of `each_twice`."""
    both = x.reshape(-1, 2, *x.shape[1:])
    return both[:, 0], both[:, 1]


def anchors_with_companions(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch as it is, which holds each image together with others of its class (`data.companions`)."""
    return dict(batch)


def anchors_of_pairs(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The first rows of pairs 2i and 2i + 1 (`data.pairs`), with the images of the second ones as `"partner"`.

    Raises:
      InputError: for an odd number of rows.
    """
    rows = len(inputs_of(batch))
    if rows % 2:
        raise InputError(f"a batch has {rows} rows: expected an even number, an anchor and its partner in turn")
    anchors, partners = (jax.tree.map(lambda x, k=k: parted(x)[k], dict(batch)) for k in (0, 1))
    return anchors | {"partner": inputs_of(partners)}
