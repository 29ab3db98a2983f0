"""From a specification in plain values to a Net: what configs hold and what saved runs are loaded by."""

import inspect
import math
from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Any

import jax.numpy as jnp

from kdjax.core import InputError, Net, normalised, pick
from kdjax.core.arrays import AxisName
from kdjax.models.concatenation import concatenated
from kdjax.models.ensemble import ensemble
from kdjax.models.remat import remat

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_SEVERAL: Mapping[str, Callable[..., Net]] = {"ensemble": ensemble, "concatenated": concatenated}
LARGEST_SIZE = 2**20  # of the whole numbers in a specification: widths, classes
_DEPTH = 2**11  # layers or blocks; each is traced, so that more would seem to hang
_LONGEST, _DEEPEST = 4096, 8  # values in all, and specifications in specifications


def build(specification: Mapping[str, Any], *, axis_name: AxisName = None) -> Net:
    """The Net that a specification describes.

    Args:
      specification: `name` (one of `NETS`); optionally `mean` and `std` for the input normalisation (of a generator those of its
        images), `dtype` by name, `remat` for gradient checkpointing, and `input`, the shape of one row of what a head sees
        (`[64]`), by which saved weights are checked; all else is passed to the net's function. Or `{"name": "ensemble", "nets":
        [specification, ...]}` with the options of `ensemble`, or `"concatenated"` with those of `concatenated`.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Raises:
      InputError: for what is no specification, a name, a dtype or an option that is not known, or an absurd size.

    >>> net = build({"name": "conv_net", "widths": [4, 8], "classes": 10, "mean": [0.5], "std": [0.25]})
    """
    from kdjax.models import NETS

    _check(specification)
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in specification.items()}
    name = str(options.pop("name"))
    try:
        if name in _SEVERAL:
            return _SEVERAL[name]([build(one, axis_name=axis_name) for one in options.pop("nets")], **options)
        make = pick("net", name, NETS)
        mean, std, _ = options.pop("mean", None), options.pop("std", None), options.pop("input", None)
        again = options.pop("remat", False)
        dtype = pick("dtype", str(options.pop("dtype", "float32")), DTYPES)
        takes = inspect.signature(make).parameters  # a linear head has neither
        if "mean" in takes:  # of the images that a generator makes, not of what it sees
            options |= {name: a for name, a in {"mean": mean, "std": std}.items() if a is not None}
            mean = std = None
        net = make(**options, **{k: v for k, v in {"dtype": dtype, "axis_name": axis_name}.items() if k in takes})
        net = remat(net) if again else net
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:  # options of another kind
        raise InputError(f"net {name!r}: {error}") from None
    return net if mean is None and std is None else normalised(net, mean, std)


def is_generator(specification: Mapping[str, Any]) -> bool:
    """Whether a specification is of a generator: a net of latents that gives images.

    >>> is_generator({"name": "generator", "latent": 64}), is_generator({"name": "conv_net"})
    (True, False)
    """
    from kdjax.models import GENERATORS

    return specification.get("name") in GENERATORS


def input_shape(specification: Mapping[str, Any], image: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one input of the net of a specification: that of an image, of a generator's latent, or what a head says.

    Raises:
      InputError: for a generator whose specification does not tell the length of its latents, or a shape that is none.

    >>> input_shape({"name": "generator", "latent": 64}, (32, 32, 3)), input_shape({"name": "conv_net"}, (32, 32, 3))
    ((64,), (32, 32, 3))
    """
    if (own := specification.get("input")) is not None:
        if not isinstance(own, list | tuple) or not all(isinstance(n, int) and n >= 1 for n in own):
            raise InputError(f"net {specification['name']!r}: input={own!r} is not accepted: expected a shape, such as [64]")
        return tuple(own)
    if not is_generator(specification):
        return image
    if not isinstance(latent := specification.get("latent"), int) or latent < 1:
        raise InputError(f"net {specification['name']!r}: latent={latent!r} is not accepted: expected the length of a latent")
    return (latent,)


def _check(specification: Any) -> None:
    """Refuses what is no specification, and what would take forever to build: they also come out of files of others."""
    if not isinstance(specification, Mapping):
        raise InputError(f"a specification of a net is a mapping with its 'name': found {type(specification).__name__}")
    if "name" not in specification:
        raise InputError("it does not say which net it holds")
    waiting: list[tuple[str, Any, int]] = [("", specification, 1)]
    count = 0
    while waiting:
        name, value, depth = waiting.pop()
        most = _DEPTH if name == "depth" else LARGEST_SIZE
        if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= most):
            raise InputError(f"{name}={value} is not accepted in a net: expected a number of at most {most}")
        if not isinstance(value, Mapping | list | tuple):
            continue
        count += len(value)
        if count > _LONGEST:
            raise InputError(f"a specification of a net holds at most {_LONGEST} values")
        if depth == _DEEPEST:
            raise InputError(f"a specification of a net is nested at most {_DEEPEST} deep")
        for key, inside in value.items() if isinstance(value, Mapping) else zip(repeat(name), value):
            waiting.append((str(key), inside, depth + 1))
