"""A net and heads on its taps, as one Net."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.net import NORM, Net, at_of
from kdjax.models.build import build
from kdjax.models.stage_classifiers import branches


def attach(net: Net, heads: Net) -> Net:
    """`heads` on all taps of `net`; params and stats are `{"net", "heads"}`, the taps those of both.

    >>> from kdjax.models import conv_net
    >>> whole = attach(conv_net((2, 3), 5), branches({"name": "conv_net", "classes": 5}))
    >>> params, stats = whole.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
    >>> taps, _ = whole.apply(params, stats, jnp.ones((1, 4, 4, 1)), train=False)
    >>> taps["logits"].shape, taps["joint1"].shape
    ((1, 5), (1, 20))
    """

    def init(key, x):
        params, stats = net.init(key, x)
        shapes = jax.eval_shape(lambda p, s: net.apply(p, s, x, train=False)[0], params, stats)
        taps = jax.tree.map(lambda tap: jnp.zeros(tap.shape, tap.dtype), shapes)
        params_heads, stats_heads = heads.init(jax.random.fold_in(key, 1), taps)
        return {"net": params, "heads": params_heads}, {"net": stats, "heads": stats_heads}

    def apply(params, stats, x, *, train, key=None):
        keys = (None, None) if key is None else (key, jax.random.fold_in(key, 1))
        taps, new = net.apply(params["net"], stats["net"], x, train=train, key=keys[0])
        more, new_heads = heads.apply(params["heads"], stats["heads"], taps, train=train, key=keys[1])
        return {**_within("net", taps), **_within("heads", more)}, {"net": new, "heads": new_heads}

    return Net(init, apply, at_of(attach, net, heads))


def branched(net: Mapping[str, Any], classes: int, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """A backbone and its `branches`, in one Net.

    Args:
      net: specification of the backbone, as `build` takes it; its classes and dtype are those given here.
      classes: number of logits, 1 or more.
      dtype: of the computation; parameters and logits are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with the backbone's taps and `"joint1"`, `"joint2"`, ... `[B, 4 classes]`.

    Raises:
      InputError: as `build` and `branches`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(branched({"name": "conv_net", "widths": [4, 8]}, 10), (1, 8, 8, 1))
    2054
    """
    whole = {**net, "classes": classes, "dtype": jnp.dtype(dtype).name}
    return attach(build(whole, axis_name=axis_name), branches(whole, axis_name=axis_name))


def _within(part: str, taps: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {k.replace(NORM, f"{NORM}{part}/", 1) if k.startswith(NORM) else k: v for k, v in taps.items()}
