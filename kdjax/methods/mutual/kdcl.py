"""Online distillation by a target that all peers make together."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_option, check_positive, masked_loss
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import peers as side_by_side


def kdcl(
    peers: Sequence[Net],
    tx: optax.GradientTransformation,
    *,
    weight: float = 1.0,
    temperature: float = 2.0,
    target: Literal["naive", "min_logit"] = "min_logit",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Peers learn together from one target, made of the best that they say of each image.

    For peer k: `L_k = CE(z_k, y) + weight T^2 KL(softmax(z_t / T) || softmax(z_k / T))`, means over the batch, no gradient into
    z_t. Each peer sees a view of its own where a batch has `"views"`. All move at once.

    Args:
      peers: at least two nets, equal or not; the first is the one that is shipped.
      tx: the optimiser, one state a peer.
      weight: factor of the imitation term.
      temperature: T, above 0.
      target: `"naive"`: of each image the logits of the peer with the least cross-entropy; `"min_logit"`: of each class the least
        that any peer gives it above the label (`losses.min_logit`). The paper's other two are not here.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Reference: Guo, Wang, Wu, Yu, Liang, Hu and Luo, Online Knowledge Distillation via Collaborative Learning, CVPR 2020. Only the
    abstract and a re-implementation were at hand.
    """
    check_positive(temperature=temperature)
    check_option("target", target, lambda v: v in ("naive", "min_logit"), "'naive' or 'min_logit'")
    make = losses.min_logit if target == "min_logit" else _best

    def objective(seen, k):
        def imitation(own, labels):
            return losses.kl_distillation(own, make(jnp.stack(seen.logits), labels), temperature=temperature)

        own = seen.logits[k]
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, own, seen.batch),
            "imitation": masked_loss(imitation, own, seen.batch),
        }

    return side_by_side(peers, tx, objective, weights={"imitation": weight}, axis_name=axis_name, micro=micro)


def _best(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Of peers' logits `[P, B, K]`, those of the peer that is the least surprised by the label of each row, `[B, K]`."""
    surprise = jnp.stack([losses.cross_entropy(z, labels) for z in logits])
    return jnp.take_along_axis(logits, jnp.argmin(surprise, axis=0)[None, :, None], axis=0)[0]
