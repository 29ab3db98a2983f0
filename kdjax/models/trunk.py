"""The layers of a net in front of its last stage, which several ends may share."""

from typing import Any

import jax
from jax.extend.core import Literal

from kdjax.core.check import InputError
from kdjax.core.net import Net
from kdjax.models.taps import last_stage, stage_names


def trunk_names(net: Net, x: Any) -> tuple[str, ...]:
    """The names at the top of the parameters of what leads to the end of the last stage but one.

    What is left are the layers of the last stage and those behind it.

    Args:
      net: any net of two stages or more.
      x: inputs, or their shapes.

    Raises:
      InputError: for a net of fewer stages, or one that has all its parameters under one name.

    >>> from kdjax.models import conv_net
    >>> trunk_names(conv_net((2, 3, 4)), jax.ShapeDtypeStruct((1, 8, 8, 1), "float32"))
    ('stage1_bn', 'stage1_conv', 'stage2_bn', 'stage2_conv')
    """
    params, stats = jax.eval_shape(net.init, jax.random.key(0), x)
    taps = jax.eval_shape(lambda *args: net.apply(*args, train=False)[0], params, stats, x)
    if last_stage(taps) == "stage1":
        raise InputError("branches share what lies in front of the last stage, and this net has one: expected 2 or more stages")
    end = stage_names(taps)[-2]
    jaxpr = jax.make_jaxpr(lambda *args: net.apply(*args, train=False)[0][end])(params, stats, x).jaxpr
    used = set(jaxpr.outvars)
    for equation in reversed(jaxpr.eqns):
        if used.intersection(equation.outvars):
            used.update(v for v in equation.invars if not isinstance(v, Literal))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    found = {path[0].key for path, v in zip(paths, jaxpr.invars[: len(paths)], strict=True) if v in used}
    if found == set(params):
        raise InputError(f"branches need layers of their own behind {end!r}: all is in {', '.join(params)}")
    return tuple(sorted(found))
