"""From a specification in plain values to a Net: what configs hold and what saved runs are loaded by."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from kdjax.core import InputError, Net, normalised, pick
from kdjax.models.ensemble import ensemble

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build(specification: Mapping[str, Any], *, axis_name: str | None = None) -> Net:
    """The Net that a specification describes.

    Args:
      specification: `name` (one of `NETS`); optionally `mean` and `std` for the input normalisation, `dtype` by name; all else is
        passed to the net's function. Or `{"name": "ensemble", "nets": [specification, ...]}` with the options of `ensemble`.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Raises:
      InputError: for a name, a dtype or an option that is not known.

    >>> net = build({"name": "conv_net", "widths": [4, 8], "classes": 10, "mean": [0.5], "std": [0.25]})
    """
    from kdjax.models import NETS

    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in specification.items()}
    name = str(options.pop("name"))
    if name == "ensemble":
        return ensemble([build(one, axis_name=axis_name) for one in options.pop("nets")], **options)
    make = pick("net", name, NETS)
    mean, std = options.pop("mean", None), options.pop("std", None)
    options["dtype"] = pick("dtype", str(options.get("dtype", "float32")), DTYPES)
    try:
        net = make(**options, axis_name=axis_name)
    except TypeError as error:
        raise InputError(f"net {specification['name']!r}: {error}") from None
    return net if mean is None else normalised(net, mean, std)
