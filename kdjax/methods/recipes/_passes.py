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
    behind = chain(taps=taps, **{name: nets[name] for name in others})

    def see(params, stats, views, key):
        sizes: dict[tuple, list[int]] = {}
        for number, view in enumerate(views):
            sizes.setdefault(view.shape, []).append(number)
        found: dict[int, dict] = {}
        for numbers in sizes.values():
            merged = _merge([views[n] for n in numbers])
            seen, stats = _part(chain(taps=None, **{first: nets[first]}), [first], params, stats, merged, key)
            found |= dict(zip(numbers, _parted(seen, len(numbers)), strict=True))
        if others:
            entry = (taps or {}).get(others[0], "pooled")
            hidden = _merge([found[n][entry] for n in range(len(views))])
            seen, stats = _part(behind, others, params, stats, hidden, jax.random.fold_in(key, 2))
            found = {n: {**found[n], **more} for n, more in enumerate(_parted(seen, len(views)))}
        return tuple(found[n] for n in range(len(views))), stats

    return see


def _part(net: Net, names: Sequence[str], params: Any, stats: Any, x: jax.Array, key: jax.Array) -> tuple[dict, Any]:
    own, kept = ({name: tree[name] for name in names} for tree in (params, stats))
    seen, new = net.apply(own, kept, x, train=True, key=key)
    return seen, {**stats, **new}


def _merge(views: Sequence[jax.Array]) -> jax.Array:
    """The rows of several views as one batch, those of an image side by side, so that each device keeps its own."""
    return jnp.stack(views, 1).reshape(-1, *views[0].shape[1:])


def _parted(taps: Mapping[str, jax.Array], count: int) -> list[dict[str, jax.Array]]:
    return [{name: x.reshape(-1, count, *x.shape[1:])[:, n] for name, x in taps.items()} for n in range(count)]
