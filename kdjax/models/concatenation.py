"""Several nets side by side, whose features are one vector."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.chain import chain
from kdjax.core.check import InputError
from kdjax.core.net import Net
from kdjax.models.ensemble import ensemble
from kdjax.models.heads import linear_head


def concatenated(nets: Sequence[Net], classes: int = 0, *, frozen: bool = False) -> Net:
    """The features of several nets in a row, `"pooled"` `[B, D_1 + ... + D_n]`, and a linear layer on all of them.

    Args:
      nets: one or more with the tap `"pooled"`; each has its own input normalisation.
      classes: logits of the linear layer; 0 for none.
      frozen: whether the nets stay as they are while the linear layer learns: they run in evaluation mode, and no gradient flows
        into them. An optimiser that decays weights has to leave them alone, as `core.skip_zero_gradients` does.

    Returns:
      A Net with params and stats `{"nets": (one a net), "classifier"}` and the taps `"pooled"`, `"logits"` `[B, classes]` where
      there are classes, and those of net k as `"teacher<k>/..."`.

    Raises:
      InputError: for no nets, or one without features.

    Reference:
      Jianyu Zhang, Leon Bottou, "Learning useful representations for shifting tasks and distributions", ICML 2023,
      arXiv:2212.07346: CAT.

    >>> from kdjax.models.conv_net import conv_net
    >>> both = concatenated([conv_net((4,), None), conv_net((8,), None)], 3)
    >>> params, stats = both.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    >>> taps, _ = both.apply(params, stats, jnp.ones((2, 8, 8, 1)), train=False)
    >>> taps["pooled"].shape, taps["logits"].shape
    ((2, 12), (2, 3))
    """
    together = ensemble(nets)

    def apply(params, stats, x, *, train, key=None):
        if frozen:
            params = lax.stop_gradient(params)
        taps, new = together.apply(params, stats, x, train=train and not frozen, key=key)
        return {**{name: x for name, x in taps.items() if name != "logits"}, "pooled": jnp.concatenate(_features(taps), -1)}, new

    body = Net(together.init, apply)
    return chain(nets=body, classifier=linear_head(classes)) if classes else chain(nets=body)


def _features(taps: dict[str, jax.Array]) -> list[jax.Array]:
    nets = sorted({int(name.partition("/")[0].removeprefix("teacher")) for name in taps if name.startswith("teacher")})
    if missing := [k for k in nets if f"teacher{k}/pooled" not in taps]:
        raise InputError(f"net {missing[0]} has no tap 'pooled': expected nets with features")
    return [taps[f"teacher{k}/pooled"] for k in nets]
