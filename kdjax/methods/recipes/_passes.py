"""How nets in a row see several views of a batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core import Net, chain

See = Callable[[Any, Any, Sequence[Any], jax.Array], tuple[tuple[dict[str, jax.Array], ...], Any]]


def one_by_one(nets: Mapping[str, Net], taps: Mapping[str, str] | None) -> See:
    """A pass a view, each with batch statistics of its own.

    Returns:
      `(params, stats, views, key) -> (taps of each view, statistics behind the last)`, in training mode.
    """
    whole = chain(**nets, taps=taps)

    def see(params, stats, views, key):
        found = []
        for view in views:
            seen, stats = whole.apply(params, stats, view, train=True, key=key)
            found.append(seen)
        return tuple(found), stats

    return see


def together(nets: Mapping[str, Net], taps: Mapping[str, str] | None) -> See:
    """Views of one size pass the first net as one batch, and all of them the others: batch statistics in common.

    Returns:
      As `one_by_one`.
    """
    first, *others = nets
    entry = (taps or {}).get(others[0], "pooled") if others else ""
    given = Net(lambda key, x: ({}, {}), lambda params, stats, x, *, train, key=None: ({entry: x}, stats))
    behind = chain(taps=taps, **{**nets, first: given})

    def see(params, stats, views, key):
        sizes: dict[tuple, list[int]] = {}
        for number, view in enumerate(views):
            sizes.setdefault(view.shape, []).append(number)
        found: dict[int, dict] = {}
        for numbers in sizes.values():
            merged = _merge([views[n] for n in numbers])
            seen, new = nets[first].apply(params[first], stats[first], merged, train=True, key=key)
            stats = {**stats, first: new}
            found |= dict(zip(numbers, _parted(seen, len(numbers)), strict=True))
        if others:
            hidden = _merge([found[n][entry] for n in range(len(views))])
            seen, new = behind.apply({**params, first: {}}, {**stats, first: {}}, hidden, train=True, key=key)
            stats = {**new, first: stats[first]}
            found = {n: {**found[n], **more} for n, more in enumerate(_parted(seen, len(views)))}
        return tuple(found[n] for n in range(len(views))), stats

    return see


def _merge(views: Sequence[jax.Array]) -> jax.Array:
    """The rows of several views as one batch, those of an image side by side, so that each device keeps its own."""
    return jnp.stack(views, 1).reshape(-1, *views[0].shape[1:])


def _parted(taps: Mapping[str, jax.Array], count: int) -> list[dict[str, jax.Array]]:
    return [{name: x.reshape(-1, count, *x.shape[1:])[:, n] for name, x in taps.items()} for n in range(count)]
