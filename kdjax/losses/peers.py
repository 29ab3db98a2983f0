"""What peers that learn together make of their predictions, axis 0 of each array."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import wide
from kdjax.losses._labels import at_label, class_numbers


def min_logit(logits: ArrayLike, labels: ArrayLike) -> jax.Array:
    """The target that has, of each class, the least that any peer gives it above the label.

        z[k] = min over peers p of (z_p[k] - z_p[y])

    No gradient flows.

    Args:
      logits: `[P, B, K]` of P peers.
      labels: class numbers `[B]` (an integer type).

    Returns:
      Logits `[B, K]`, 0 at the label. The row of a class number outside [0, K) is NaN.

    Raises:
      InputError: for other shapes, or labels that are not integers.

    Reference:
      Guo, Wang, Wu, Yu, Liang, Hu, Luo, "Online Knowledge Distillation via Collaborative Learning" (KDCL), CVPR 2020.

    >>> min_logit(jnp.array([[[3.0, 1.0, 0.0]], [[1.0, 2.0, -4.0]]]), jnp.array([0])).tolist()
    [[0.0, -2.0, -5.0]]
    """
    sizes = check_shapes("P B K", logits=logits)
    labels = class_numbers(labels, sizes)
    z = lax.stop_gradient(wide(logits))
    hit = at_label(z, jnp.broadcast_to(labels, z.shape[:-1]))
    return jnp.min(z - hit[..., None], axis=0)


def peer_attention(queries: ArrayLike, keys: ArrayLike) -> jax.Array:
    """How much each peer takes from each one, itself among them.

        a[b, p, q] = softmax over q of <queries_p, keys_q>, of image b

    The products are not scaled. The target of peer p is `sum_q a[b, p, q] z_q`; the gradient flows through it in OKDDip, or neither
    projection would learn.

    Args:
      queries: `[P, B, E]`, a projection of the pooled features of P peers.
      keys: `[P, B, E]`, another one.

    Returns:
      `[B, P, P]`, each row sums to 1.

    Raises:
      InputError: for other shapes.

    Reference:
      Chen, Mei, Wang, Feng, Chen, "Online Knowledge Distillation with Diverse Peers" (OKDDip), AAAI 2020, arXiv 1912.00350.

    >>> peer_attention(jnp.zeros((2, 1, 3)), jnp.ones((2, 1, 3))).tolist()
    [[[0.5, 0.5], [0.5, 0.5]]]
    """
    check_shapes("P B E", queries=queries, keys=keys)
    return jax.nn.softmax(jnp.einsum("pbe,qbe->bpq", wide(queries), wide(keys), precision=lax.Precision.HIGHEST))
