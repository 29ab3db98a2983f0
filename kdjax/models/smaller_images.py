"""A net that looks at a smaller copy of its images."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError, check_option
from kdjax.core.net import Net, at_of
from kdjax.models.build import build


def shrink(net: Net, factor: int) -> Net:
    """The same Net, with the same params, on images whose sides are divided by `factor` (bilinear, with antialiasing).

    Args:
      net: takes the smaller images.
      factor: a whole number of 1 (nothing changes) or more; a side that it does not divide is rounded down.

    Raises:
      InputError: for another factor, or one above a side of the images.

    >>> from kdjax.models import conv_net
    >>> net = shrink(conv_net((2,), 3), 2)
    >>> params, stats = net.init(jax.random.key(0), jnp.zeros((1, 8, 6, 1)))
    >>> net.apply(params, stats, jnp.zeros((1, 8, 6, 1)), train=False)[0]["stage1"].shape
    (1, 4, 3, 2)
    """
    check_option("factor", factor, lambda k: int(k) == k >= 1, "a whole number of at least 1")

    def smaller(x):
        batch, height, width, channels = x.shape
        if factor > min(height, width):
            raise InputError(f"factor={factor} is not accepted: expected at most {min(height, width)}, the side of the images")
        return jax.image.resize(x, (batch, height // factor, width // factor, channels), "bilinear")

    def apply(params, stats, x, *, train, key=None):
        return net.apply(params, stats, smaller(x), train=train, key=key)

    return Net(lambda key, x: net.init(key, smaller(x)), apply, at_of(lambda other: shrink(other, factor), net))


def shrunk(
    net: Mapping[str, Any], classes: int | None = 10, *, factor: int = 2, dtype: Any = jnp.float32, axis_name: AxisName = None
) -> Net:
    """The Net of a specification, on images whose sides are divided by `factor`: see `shrink`.

    Args:
      net: specification, as `build` takes it; its classes and dtype are those given here.
      classes: number of logits; 0 or None for an encoder without logits.
      factor: a whole number of 1 or more.
      dtype: of the computation; parameters and logits are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with the taps of the one inside.

    Raises:
      InputError: as `build` and `shrink`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(shrunk({"name": "conv_net", "widths": [4, 8]}), (1, 16, 16, 1))
    438
    """
    whole = {**net, "classes": classes, "dtype": jnp.dtype(dtype).name}
    return shrink(build(whole, axis_name=axis_name), factor)
