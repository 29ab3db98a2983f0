"""The bridge from Flax Linen."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdjax.core.check import InputError, check_rows
from kdjax.core.module_outputs import arguments_of, flatten, sown, taps_of
from kdjax.core.net import NORM, Net
from kdjax.core.switch import Switch, check_switch, switched, usual, without_switch


def from_linen(
    module: Any,
    *,
    train: Switch | None = None,
    taps: Callable[[Any], Mapping[str, Any]] | None = None,
    layers: Sequence[str] = (),
) -> Net:
    """A Net over an unbound `flax.linen` module.

    The module is called as `module(x)`, or `module(*x)` where `x` is a tuple, with its train switch: arguments of its `__call__`,
    or fields of the module, that are named `train`, `training` or `is_training`, or, inverted, `deterministic` or
    `use_running_average`. It returns its taps (a mapping of arrays; what lies in tuples inside is `"<name>/0"`, ...) or one array,
    the tap `"logits"`. Every collection but `params` is the Net's `stats`. Without any change to the module the input of each
    `flax.linen.BatchNorm` inside is a tap `"norm/<path>"`, and what it sows as `intermediates` a tap `"<path>"`. A `key` given to
    `apply` seeds all its random streams.

    Args:
      module: the module.
      train: `on -> {name: value}`, the options of a call in training (True) and in evaluation (False), in place of the usual names;
        `lambda on: {}` for a module that is to stay as it was built.
      taps: `out -> taps` of a module that returns something else, such as `lambda out: {"logits": out[0]}`.
      layers: paths of layers inside, such as `"encoder/block_3"`, whose outputs are taps of these names.

    Raises:
      InputError: at `init` and `apply`, for a module with dropout or batch norm whose switch is not found, for a layer that is not
        there and for other outputs; in training, for batch norm over a single row.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> net = from_linen(nn.Dropout(0.5))
    >>> net.apply({}, {}, jnp.ones(2), train=False)[0]["logits"].tolist()
    [1.0, 1.0]
    """
    import flax.linen as nn
    from flax.core.scope import LazyRng

    check_switch(train)
    arguments = usual(inspect.signature(type(module).__call__).parameters)
    fields = [name for name in usual(vars(module)) if isinstance(getattr(module, name), bool | None)]
    known = train is not None or bool(arguments or fields)

    def told(on: bool) -> tuple[Any, dict]:
        if train is not None:
            return module, dict(train(on))
        # A field of the name of an argument gives way to it: a layer refuses to be told twice.
        own: dict[str, Any] = {name: None if name in arguments else value for name, value in switched(fields, on).items()}
        return module.clone(**own) if own else module, switched(arguments, on)

    def record(call, args, kwargs, context):
        layer = context.module
        if context.method_name == "__call__":
            if not known and (isinstance(layer, nn.BatchNorm) or _drops(layer)):
                raise without_switch(module, f"{type(layer).__name__} {'/'.join(layer.path)!r}".replace(" ''", ""))
            if isinstance(layer, nn.BatchNorm) and not layer.is_initializing():
                held = kwargs.get("use_running_average", args[1] if len(args) > 1 else None)
                if not (layer.use_running_average if held is None else held):
                    check_rows(args[0].shape[0], layer.axis_name, f"batch norm {'/'.join(layer.path)!r}")
                layer.sow(NORM, "input", args[0], reduce_fn=lambda _, x: x, init_fn=lambda: None)
        out = call(*args, **kwargs)
        if context.method_name == "__call__" and "/".join(layer.path) in layers:
            layer.sow(_LAYERS, _OUTPUT, out, reduce_fn=lambda _, x: x, init_fn=lambda: None)
        return out

    def init(key, x):
        whole, options = told(False)
        with nn.intercept_methods(record):
            variables = dict(whole.init({"params": key, "dropout": key}, *arguments_of(x), **options))
        params = variables.pop("params", {})
        variables.pop(_LAYERS, None)
        check(variables)
        return params, variables

    def apply(params, stats, x, *, train, key=None):
        whole, options = told(train)
        # A stream without a key of its own draws from "params".
        rngs = None if key is None else {"dropout": key, "params": LazyRng.create(key, "other")}
        mutable = [NORM, _LAYERS, _SOWN, *(stats if train else ())]
        with nn.intercept_methods(record):
            out, new = whole.apply({"params": params, **stats}, *arguments_of(x), **options, rngs=rngs, mutable=mutable)
        check(stats)
        new = dict(new)
        found = {path.removesuffix(f"/{_OUTPUT}"): value for path, value in flatten(new.pop(_LAYERS, {})).items()}
        for name in layers:
            if not any(path == name or path.startswith(f"{name}/") for path in found):
                raise InputError(f"layers={name!r} is not accepted: {type(module).__name__} calls no layer of this path")
        found |= sown(new.pop(_SOWN, {})) | taps_of(out, taps)
        for path, value in flatten(new.pop(NORM, {})).items():
            found[NORM + path.removesuffix("/input")] = value
        return found, {**stats, **new}

    def check(stats):
        if not known and "batch_stats" in stats:  # of a layer that is not Flax's own
            raise without_switch(module, "batch_stats")

    return Net(init, apply)


_LAYERS, _SOWN = "layers", "intermediates"  # collections: outputs of layers, and Flax's own of what modules sow
_OUTPUT = "output of the layer"  # a name that no layer inside has


def _drops(layer: Any) -> bool:
    """Whether a Linen layer is dropout, or an attention with dropout inside."""
    import flax.linen as nn

    rates = {nn.Dropout: "rate", nn.MultiHeadDotProductAttention: "dropout_rate"}
    return any(isinstance(layer, kind) and getattr(layer, rate) != 0 for kind, rate in rates.items())
