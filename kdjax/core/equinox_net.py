"""The bridge from Equinox, which is imported when it is used."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from kdjax.core.arrays import AxisName
from kdjax.core.extra import extra
from kdjax.core.keys import row_keys
from kdjax.core.module_outputs import arguments_of, taps_of
from kdjax.core.net import Net
from kdjax.core.tree_paths import path_name

AXIS = "batch"  # the axis over examples, as Equinox's own batch norm is told


def from_equinox(
    make: Callable[[jax.Array], Any],
    *,
    axis_name: AxisName = None,
    taps: Callable[[Any], Mapping[str, Any]] | None = None,
) -> Net:
    """A Net over an `equinox.Module` of one example, built by `make(key)`; Equinox is imported when this is called.

    The module is called row by row, under `jax.vmap` with the axis `"batch"`, as `module(x)`, or `module(*x)` where `x` is a tuple;
    with `key=`, another one for each row, where its `__call__` takes one; and with its state where `make` is
    `eqx.nn.make_with_state` of a module. `eqx.nn.inference_mode` tells it whether it trains. Arrays of floats are the params, other
    arrays and the state the stats, both by their paths; all else is as `make` builds it.

    Args:
      make: `key -> module`, or `key -> (module, state)`.
      axis_name: mapped axis that holds the batch, for the keys of rows, or None.
      taps: as in `from_linen`.

    Raises:
      InputError: where Equinox is not installed.
    """
    with extra("equinox"):
        import equinox as eqx  # pyright: ignore[reportMissingImports]

    def init(key, x):
        model, state = made if type(made := make(key)) is tuple else (made, None)
        params, rest = eqx.partition(model, eqx.is_inexact_array)
        return _by_path((params, None)), _by_path(eqx.filter((rest, state), eqx.is_array))

    def apply(params, stats, x, *, train, key=None):
        arrays, made = {**params, **stats}, eqx.filter_eval_shape(make, jax.random.key(0))
        parts = made if type(made) is tuple else (made, None)
        model, state = jax.tree_util.tree_map_with_path(lambda path, leaf: arrays.get(_name(path), leaf), parts)
        model = eqx.nn.inference_mode(model, value=not train)
        seen, options = arguments_of(x), {}
        rows = jax.tree.leaves(seen)[0].shape[0]
        if key is not None and "key" in inspect.signature(type(model).__call__).parameters:
            options["key"] = row_keys(key, rows, axis_name)

        def one(seen, options):
            return model(*seen, **options) if state is None else model(*seen, state, **options)

        over = partial(jax.vmap, axis_name=AXIS)
        if state is None:
            return taps_of(over(one)(seen, options), taps), stats
        out, state = over(one, out_axes=(0, None))(seen, options)
        new = _by_path((None, state))
        return taps_of(out, taps), {name: new.get(name, x) for name, x in stats.items()} if train else stats

    return Net(init, apply)


def _name(path: Any) -> str:
    return path_name(path).removeprefix("0/")


def _by_path(tree: Any) -> dict[str, Any]:
    return {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}
