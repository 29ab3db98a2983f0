"""A network as a pair of pure functions, and the bridges from Flax Linen and Flax NNX."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.check import check_option

NORM = "norm/"  # taps of the inputs of batch-norm layers are named norm/<path of the layer>


class Apply(Protocol):
    """The signature of `Net.apply`."""

    def __call__(self, params: Any, stats: Any, x: Any, /, *, train: bool, key: jax.Array | None = None) -> tuple[dict, Any]:
        """Returns `(taps, stats)`."""
        ...


class Net(NamedTuple):
    """A network: two pure functions.

    Attributes:
      init: `(key, x) -> (params, stats)`.
      apply: `(params, stats, x, *, train, key=None) -> (taps, stats)`. `x` is any pytree; `taps` is a plain dict of arrays
        (`"stem"`, `"stage1"`, ..., `"pooled"`, `"logits"`). Under `jit`, taps that nobody uses cost nothing.
    """

    init: Callable[[jax.Array, Any], tuple[Any, Any]]
    apply: Apply


def from_linen(module: Any) -> Net:
    """A Net over an unbound `flax.linen` module.

    The module is called as `module(x, train=...)`, or `module(x)` where it has no argument `train`. It returns its taps (a
    mapping of arrays) or one array, which becomes the tap `"logits"`. Every collection but `params` is the Net's `stats`. The
    input of each `flax.linen.BatchNorm` inside is a tap `"norm/<path>"` without any change to the module. A `key` given
    to `apply` seeds the `dropout` stream.
    """
    import inspect

    import flax.linen as nn

    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def record(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            context.module.sow(NORM, "input", args[0], reduce_fn=lambda _, x: x, init_fn=lambda: None)
        return call(*args, **kwargs)

    def options(train: bool) -> dict:
        return {"train": train} if takes_train else {}

    def init(key, x):
        variables = dict(module.init({"params": key, "dropout": key}, x, **options(False)))
        params = variables.pop("params", {})
        return params, variables

    def apply(params, stats, x, *, train, key=None):
        rngs = None if key is None else {"dropout": key}
        mutable = [NORM, *(stats if train else ())]
        with nn.intercept_methods(record):
            out, new = module.apply({"params": params, **stats}, x, **options(train), rngs=rngs, mutable=mutable)
        new = dict(new)
        taps = dict(out) if isinstance(out, Mapping) else {"logits": out}
        for path, value in _flatten(new.pop(NORM, {})).items():
            taps[NORM + path.removesuffix("/input")] = value
        return taps, {**stats, **new}

    return Net(init, apply)


def from_nnx(make: Callable[[Any], Any]) -> Net:
    """A Net over a `flax.nnx` module built by `make(rngs)`.

    A function, not a built module: a built one cannot be initialised again for another seed. The module is called as
    `module(x)`, in training or evaluation mode by `module.train()` and `module.eval()`, and returns its taps or one array
    (`"logits"`). Random streams are rebuilt from `key` at every `apply` and are never part of `stats`.
    """
    from flax import nnx

    def split(module):
        graph, params, random, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
        return graph, nnx.to_pure_dict(params), random, nnx.to_pure_dict(rest)

    def template(x_free_key):
        return nnx.split(make(nnx.Rngs(x_free_key)), nnx.Param, nnx.RngState, ...)

    def init(key, x):
        del x  # NNX modules know their input sizes
        _, params, _, rest = split(make(nnx.Rngs(key)))
        return params, rest

    def apply(params, stats, x, *, train, key=None):
        graph, param_state, random, rest_state = template(jax.random.key(0) if key is None else key)
        nnx.replace_by_pure_dict(param_state, params)
        nnx.replace_by_pure_dict(rest_state, stats)
        module = nnx.merge(graph, param_state, random, rest_state)
        module.train() if train else module.eval()
        out = module(x)
        taps = dict(out) if isinstance(out, Mapping) else {"logits": out}
        _, _, _, new = split(module)
        return taps, new if train else stats

    return Net(init, apply)


def normalised(net: Net, mean: Any, std: Any) -> Net:
    """The same Net with its own input normalisation: it sees `(x - mean) / std`, per channel.

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
        return (x - jnp.broadcast_to(mean, x.shape)) / jnp.broadcast_to(std, x.shape)

    def apply(params, stats, x, *, train, key=None):
        return net.apply(params, stats, scaled(x), train=train, key=key)

    return Net(lambda key, x: net.init(key, scaled(x)), apply)


_ABOVE_0 = "finite numbers above 0"


def _finite(x: Any) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.all(np.isfinite(np.asarray(x, np.float32))))


def chain(first: Net, then: Net, tap: str = "pooled") -> Net:
    """`then` on the tap `tap` of `first`: a projector behind an encoder, a regressor behind a stage.

    The taps of both are kept; where names meet, those of `then` win. Params and stats are `{"first", "then"}`, and so
    `"norm/<path>"` becomes `"norm/first/<path>"` or `"norm/then/<path>"`.
    """

    def init(key, x):
        a, b = jax.random.split(key)
        params, stats = first.init(a, x)
        taps, _ = jax.eval_shape(lambda p, s: first.apply(p, s, x, train=False), params, stats)
        hidden = jnp.zeros(taps[tap].shape, taps[tap].dtype)
        params_then, stats_then = then.init(b, hidden)
        return {"first": params, "then": params_then}, {"first": stats, "then": stats_then}

    def apply(params, stats, x, *, train, key=None):
        a, b = (None, None) if key is None else jax.random.split(key)
        taps, stats_first = first.apply(params["first"], stats["first"], x, train=train, key=a)
        more, stats_then = then.apply(params["then"], stats["then"], taps[tap], train=train, key=b)
        return {**_within("first", taps), **_within("then", more)}, {"first": stats_first, "then": stats_then}

    return Net(init, apply)


def batch_norms(taps: dict[str, jax.Array], stats: Any) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    """The batch-norm layers of a Net as `(input of the layer, running mean, running variance)`, in order of their names.

    Empty where the net has none, or where its taps hold no `"norm/<path>"`.
    """
    flat = {path.replace("batch_stats/", ""): value for path, value in _flatten(stats).items()}
    paths = sorted(name.removeprefix(NORM) for name in taps if name.startswith(NORM))
    return [(taps[NORM + path], flat[f"{path}/mean"], flat[f"{path}/var"]) for path in paths]


def _within(part: str, taps: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {k.replace(NORM, f"{NORM}{part}/", 1) if k.startswith(NORM) else k: v for k, v in taps.items()}


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {k: v for name, sub in tree.items() for k, v in _flatten(sub, f"{prefix}/{name}" if prefix else str(name)).items()}
