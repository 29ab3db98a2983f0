"""What peers are compared by, to find how much each takes from each."""

import flax.linen as nn
import jax

from kdjax.core.check import check_count
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import fan_in_uniform


class _Queries(nn.Module):
    reduction: int

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        width = max(x.shape[-1] // self.reduction, 1)
        return {name: nn.Dense(width, use_bias=False, kernel_init=fan_in_uniform, name=name)(x) for name in ("queries", "keys")}


def peer_queries(reduction: int = 8) -> Net:
    """The two projections of OKDDip, without bias, the same for all peers.

    Args:
      reduction: of C channels `C // reduction` are left, one at least.

    Returns:
      A Net of features `[..., C]` with the taps `"queries"` and `"keys"` `[..., C // reduction]`, as `losses.peer_attention` takes
      them.

    Raises:
      InputError: for a reduction below 1.

    Reference: Chen, Mei, Wang, Feng, Chen, "Online Knowledge Distillation with Diverse Peers", AAAI 2020, arXiv 1912.00350.

    >>> net = peer_queries()
    >>> features = jax.numpy.ones((3, 2, 16))
    >>> net.apply(*net.init(jax.random.key(0), features), features, train=False)[0]["keys"].shape
    (3, 2, 2)
    """
    check_count(reduction=reduction)
    return from_linen(_Queries(reduction))
