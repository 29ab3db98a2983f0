"""A network as a pair of pure functions."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.core.tree_paths import by_path

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
    for name in ("train", "key"):
        if name not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise InputError(f"the apply of a Net takes no {name!r}: expected apply(params, stats, x, *, train, key=None)")

    def call(params: Any, stats: Any, x: Any, /, *, train: bool, key: jax.Array | None = None) -> tuple[dict, Any]:
        out = apply(params, stats, x, train=train, key=key)
        expected = "expected (taps, stats), taps a dict of arrays such as {'logits': ...}"
        if not isinstance(out, tuple) or len(out) != 2:
            raise InputError(f"the apply of a Net returned {kind_of(out)}: {expected}")
        if not isinstance(out[0], Mapping):
            raise InputError(f"the apply of a Net returned {kind_of(out[0])} for its taps: {expected}")
        return out

    call.is_checked = True  # type: ignore[attr-defined]
    return call


def kind_of(x: Any) -> str:
    """What a function returned in place of what is expected, in words."""
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
    flat = {path.replace("batch_stats/", ""): value for path, value in by_path(stats).items()}
    paths = sorted(name.removeprefix(NORM) for name in taps if name.startswith(NORM))
    return [(taps[NORM + path], flat[f"{path}/mean"], flat[f"{path}/var"]) for path in paths]
