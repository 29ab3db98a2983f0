"""A network as a pair of pure functions, and the bridges from Flax Linen and Flax NNX."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.check import InputError, check_option, check_rows
from kdjax.core.switch import ON, Switch, check_switch, switched, usual, without_switch

NORM = "norm/"  # taps of the inputs of batch-norm layers are named norm/<path of the layer>


class Apply(Protocol):
    """The signature of `Net.apply`."""

    def __call__(self, params: Any, stats: Any, x: Any, /, *, train: bool, key: jax.Array | None = None) -> tuple[dict, Any]:
        """Returns `(taps, stats)`."""
        ...


def alone(**options: Any) -> "Net":
    """The `at` of a net that is no family.

    Raises:
      InputError: always.
    """
    asked = ", ".join(f"{name}={value}" for name, value in options.items())
    raise InputError(f"net.at({asked}) is not accepted: this net is no family, it has one width and precision")


class _Functions(NamedTuple):
    init: Callable[[jax.Array, Any], tuple[Any, Any]]
    apply: Apply
    at: Callable[..., "Net"] = alone


class Net(_Functions):
    """A network: two pure functions.

    Attributes:
      init: `(key, x) -> (params, stats)`.
      apply: `(params, stats, x, *, train, key=None) -> (taps, stats)`. `x` is any pytree; `taps` is a plain dict of arrays
        (`"stem"`, `"stage1"`, ..., `"pooled"`, `"logits"`). Under `jit`, taps that nobody uses cost nothing.
      at: of a family of nets that share their params, `(width=..., bits=..., ...) -> Net`: another member, with the same params.

    Raises:
      InputError: where `apply` does not take `train` and `key`; at its call, where what it returns is not `(taps, stats)`.
    """

    __slots__ = ()

    def __new__(cls, init: Callable[[jax.Array, Any], tuple[Any, Any]], apply: Apply, at: Callable[..., "Net"] = alone) -> "Net":
        """The functions as given, but that `apply` is checked."""
        return super().__new__(cls, init, _checked(apply), at)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> "Net":  # what `_replace` calls
        return cls(*iterable)


def _checked(apply: Apply) -> Apply:
    if getattr(apply, "is_checked", False):
        return apply
    parameters = inspect.signature(apply).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in ("train", "key"):
            if name not in parameters:
                raise InputError(f"the apply of a Net takes no {name!r}: expected apply(params, stats, x, *, train, key=None)")

    def call(params: Any, stats: Any, x: Any, /, *, train: bool, key: jax.Array | None = None) -> tuple[dict, Any]:
        out = apply(params, stats, x, train=train, key=key)
        expected = "expected (taps, stats), taps a dict of arrays such as {'logits': ...}"
        if not isinstance(out, tuple) or len(out) != 2:
            raise InputError(f"the apply of a Net returned {_kind(out)}: {expected}")
        if not isinstance(out[0], Mapping):
            raise InputError(f"the apply of a Net returned {_kind(out[0])} for its taps: {expected}")
        return out

    call.is_checked = True  # type: ignore[attr-defined]
    return call


def _kind(x: Any) -> str:
    if isinstance(x, jax.Array | np.ndarray):
        return f"an array of shape {x.shape}"
    return f"a tuple of {len(x)}" if isinstance(x, tuple) else f"a {type(x).__name__}"


def at_of(make: Callable[..., Net], *nets: Net) -> Callable[..., Net]:
    """The `at` of a net that is made of others: what `make` makes of theirs, where one of them is a family.

    >>> plain = Net(lambda key, x: ({}, {}), lambda params, stats, x, *, train, key=None: ({"logits": x}, stats))
    >>> half = plain._replace(at=lambda *, width: plain)
    >>> at_of(lambda a, b: (a, b), half, plain)(width=0.5) == (plain, plain)
    True
    """
    if all(net.at is alone for net in nets):
        return alone
    return lambda **options: make(*(net if net.at is alone else net.at(**options) for net in nets))


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

    >>> import flax.linen as nn
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
        found = {path.removesuffix(f"/{_OUTPUT}"): value for path, value in _flatten(new.pop(_LAYERS, {})).items()}
        for name in layers:
            if not any(path == name or path.startswith(f"{name}/") for path in found):
                raise InputError(f"layers={name!r} is not accepted: {type(module).__name__} calls no layer of this path")
        found |= _sown(new.pop(_SOWN, {})) | taps_of(out, taps)
        for path, value in _flatten(new.pop(NORM, {})).items():
            found[NORM + path.removesuffix("/input")] = value
        return found, {**stats, **new}

    def check(stats):
        if not known and "batch_stats" in stats:  # of a layer that is not Flax's own
            raise without_switch(module, "batch_stats")

    return Net(init, apply)


_LAYERS, _SOWN = "layers", "intermediates"  # collections: outputs of layers, and Flax's own of what modules sow
_OUTPUT = "output of the layer"  # a name that no layer inside has


def arguments_of(x: Any) -> tuple[Any, ...]:
    """What a module is called with: a tuple's parts one by one."""
    return x if type(x) is tuple else (x,)


def taps_of(out: Any, taps: Callable[[Any], Mapping[str, Any]] | None) -> dict[str, Any]:
    """The output of a module as taps."""
    out = taps(out) if taps else out
    if out is None or isinstance(out, tuple | list):
        raise InputError(f"a module returned {_kind(out)}: expected an array or a dict of arrays, or taps=lambda out: {{...}}")
    if not isinstance(out, Mapping):
        return {"logits": out}
    found = {}  # in the module's order
    for name, inside in out.items():
        for path, x in jax.tree_util.tree_leaves_with_path(inside):
            found["/".join([str(name), *(jax.tree_util.keystr((key,), simple=True) for key in path)])] = x
    return found


def _sown(found: Any) -> dict[str, Any]:
    """What modules sowed, a tuple under each name, as taps."""
    alone = {name: x[0] if isinstance(x, tuple) and len(x) == 1 else x for name, x in _flatten(found).items()}
    return taps_of(alone, None)


def _drops(layer: Any) -> bool:
    """Whether a Linen layer is dropout, or an attention with dropout inside."""
    import flax.linen as nn

    rates = {nn.Dropout: "rate", nn.MultiHeadDotProductAttention: "dropout_rate"}
    return any(isinstance(layer, kind) and getattr(layer, rate) != 0 for kind, rate in rates.items())


def from_nnx(
    make: Callable[[Any], Any],
    *,
    train: Switch | None = None,
    taps: Callable[[Any], Mapping[str, Any]] | None = None,
) -> Net:
    """A Net over a `flax.nnx` module built by `make(rngs)`.

    A function, not a built module: a built one cannot be initialised again for another seed; `nnx_weights` gives the weights of a
    trained one. The module is called as `module(x)`, or `module(*x)` where `x` is a tuple, in training or evaluation mode by
    `module.train()` and `module.eval()`, and with those arguments of its `__call__` that have a usual name of a train switch (see
    `from_linen`), as they would overrule that mode. It returns its taps as there; what it sows as `nnx.Intermediate` is a tap
    `"<path>"`. Random streams are rebuilt from `key` at every `apply` and are never part of `stats`.

    Args:
      make: `rngs -> module`.
      train: as in `from_linen`.
      taps: as in `from_linen`.

    Raises:
      InputError: at `init` and `apply`, for a Linen module inside (`nnx.bridge.ToNNX`), which that mode does not reach, where there
        is no `train`; in training, for batch norm over a single row.
    """
    from flax import nnx

    check_switch(train)

    def holds_linen(module):
        return any(isinstance(layer, nnx.bridge.ToNNX) for _, layer in nnx.iter_modules(module))

    def built(key):
        module = make(nnx.Rngs(key))
        if train is None and holds_linen(module):
            raise without_switch(module, "a Linen module")
        return module

    def tell(module, on: bool) -> dict:
        nnx.Module.train(module) if on else nnx.Module.eval(module)  # the names of Flax's own layers
        for _, layer in nnx.iter_modules(module):
            for name in ON:
                if isinstance(vars(layer).get(name), bool):
                    setattr(layer, name, on)
        return switched(usual(inspect.signature(type(module).__call__).parameters), on) if train is None else dict(train(on))

    def init(key, x):
        del x  # NNX modules know their input sizes
        return nnx_weights(built(key))

    def apply(params, stats, x, *, train, key=None):
        graph, param_state, random, rest_state = nnx.split(
            built(jax.random.key(0) if key is None else key), nnx.Param, nnx.RngState, ...
        )
        nnx.replace_by_pure_dict(param_state, params)
        nnx.replace_by_pure_dict(rest_state, stats)
        module = nnx.merge(graph, param_state, random, rest_state)
        options = tell(module, train)
        for path, layer in nnx.iter_modules(module):
            if isinstance(layer, nnx.BatchNorm) and not layer.use_running_average:
                check_rows(jax.tree.leaves(x)[0].shape[0], layer.axis_name, f"batch norm {'/'.join(map(str, path))!r}")
        if holds_linen(module):  # a Linen module takes what `nnx.capture` puts into it for a variable of its own
            out, found = module(*arguments_of(x), **options), {}
        else:
            out, sown = nnx.capture(module, nnx.Intermediate)(*arguments_of(x), **options)
            found = _sown(nnx.to_pure_dict(sown))
        found |= taps_of(out, taps)
        return found, nnx_weights(module)[1] if train else stats

    return Net(init, apply)


def nnx_weights(module: Any) -> tuple[Any, Any]:
    """The weights of a `flax.nnx` module, trained or not, as those of `from_nnx` of its kind: `(params, stats)`.

    >>> from flax import nnx
    >>> module = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    >>> net, x = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs)), jnp.ones((1, 2))
    >>> bool(jnp.all(net.apply(*nnx_weights(module), x, train=False)[0]["logits"] == module(x)))
    True
    """
    from flax import nnx

    _, params, _, _, rest = nnx.split(module, nnx.Param, nnx.RngState, nnx.Intermediate, ...)
    return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)


def normalised(net: Net, mean: Any, std: Any) -> Net:
    """The same Net with its own input normalisation: it sees `(x - mean) / std`, per channel; of a mapping that of its `"image"`.

    Args:
      net: the Net behind the normalisation.
      mean: numbers per channel of images in [0, 1], or one number.
      std: likewise, above 0.

    Raises:
      InputError: for numbers that are not finite, or a deviation that is not above 0.
    """
    check_option("mean", mean, _finite, "finite numbers")
    check_option("std", std, lambda x: _finite(x) and np.all(np.asarray(x, np.float32) >= np.finfo(np.float32).tiny), _ABOVE_0)
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)

    def scaled(x):
        if isinstance(x, Mapping):
            return {**x, "image": scaled(x["image"])}
        return (x - jnp.broadcast_to(mean, x.shape)) / jnp.broadcast_to(std, x.shape)

    def apply(params, stats, x, *, train, key=None):
        return net.apply(params, stats, scaled(x), train=train, key=key)

    return Net(lambda key, x: net.init(key, scaled(x)), apply, at_of(lambda other: normalised(other, mean, std), net))


_ABOVE_0 = "finite numbers above 0"


def _finite(x: Any) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.all(np.isfinite(np.asarray(x, np.float32))))


def batch_norms(taps: dict[str, jax.Array], stats: Any) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    """The batch-norm layers of a Net as `(input of the layer, running mean, running variance)`, in order of their names.

    Empty where the net has none, or where its taps hold no `"norm/<path>"`.
    """
    named = dict(enumerate(stats)) if isinstance(stats, tuple) else stats  # of an ensemble, by the number of the net
    flat = {path.replace("batch_stats/", ""): value for path, value in _flatten(named).items()}
    paths = sorted(name.removeprefix(NORM) for name in taps if name.startswith(NORM))
    return [(taps[NORM + path], flat[f"{path}/mean"], flat[f"{path}/var"]) for path in paths]


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {k: v for name, sub in tree.items() for k, v in _flatten(sub, f"{prefix}/{name}" if prefix else str(name)).items()}
