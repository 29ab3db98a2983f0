"""A net that mixes the rows of a batch behind one of its stages."""

import re
from collections.abc import Mapping

import flax.linen as nn

from kdjax.core.arrays import AxisName
from kdjax.core.blend import blend
from kdjax.core.check import InputError
from kdjax.core.net import NORM, Net

_GIVEN = ("pooled", "logits", "head")  # what lies behind all stages
_LAYER = re.compile(r"stage(\d+)_")  # how the first layer of a stage, and all others of it, are named


def mixing_inside(net: Net, *, axis_name: AxisName = None) -> Net:
    """The same Net, with the same params, which mixes its own maps as it is told: `share * row + (1 - share) * partner`.

    What it is told comes with the images, `{"image", "partner", "share"}`, as `augment.manifold_mixup` gives it: a share behind
    each stage, 0 for the images themselves; it is used in front of the first layer of the next. The net then has no taps but what
    lies behind all stages, since maps in front of a mixture are not mixed. Images alone pass as they are.

    Args:
      net: with stages, made of Linen modules.
      axis_name: mapped axis that holds the rest of the batch, or None; partners may lie on other devices.

    Raises:
      InputError: for a net without stages, or shares behind as many stages as it has.

    Reference:
      Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz, Bengio, Manifold Mixup: Better Representations by Interpolating Hidden
      States, ICML 2019, arXiv 1806.05236.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from kdjax.models import conv_net
    >>> net = mixing_inside(conv_net((2, 3), 5))
    >>> inside = {"image": jnp.ones((2, 4, 4, 1)), "partner": jnp.array([1, 0]), "share": jnp.ones((2, 2))}
    >>> sorted(net.apply(*net.init(jax.random.key(0), inside), inside, train=True)[0])
    ['logits', 'norm/stage1_bn', 'norm/stage2_bn', 'pooled']
    """

    def apply(params, stats, x, *, train, key=None):
        if not isinstance(x, Mapping):
            return net.apply(params, stats, x, train=train, key=key)
        stages: set[int] = set()
        partner, shares = x["partner"], x["share"]

        def mixed(rows, behind):
            return rows if behind >= shares.shape[1] else blend(rows, partner, shares[:, behind], axis_name=axis_name)

        def before(call, args, kwargs, context):
            path = context.module.path if context.method_name == "__call__" else ()
            found = _LAYER.match(path[0]) if len(path) == 1 else None
            if found and (stage := int(found[1])) not in stages:
                stages.add(stage)
                if stage > 1:
                    args = (mixed(args[0], stage - 1), *args[1:])
            return call(*args, **kwargs)

        with nn.intercept_methods(before):
            taps, stats = net.apply(params, stats, mixed(x["image"], 0), train=train, key=key)
        if len(stages) < shares.shape[1]:
            wanted = f"expected stage {len(stages) - 1} at most" if stages else "expected one whose layers are named 'stage1_...'"
            raise InputError(f"a net of {len(stages)} stages cannot be mixed behind stage {shares.shape[1] - 1}: {wanted}")
        return {name: tap for name, tap in taps.items() if name in _GIVEN or name.startswith(NORM)}, stats

    return Net(lambda key, x: net.init(key, x["image"] if isinstance(x, Mapping) else x), apply)
