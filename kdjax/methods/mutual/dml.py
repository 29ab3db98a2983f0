"""Deep mutual learning."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_option, masked_loss
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import peers as side_by_side


def dml(
    peers: Sequence[Net],
    tx: optax.GradientTransformation,
    *,
    temperature: float = 1.0,
    weight: Weight = 1.0,
    target: Literal["pairwise", "mean"] = "pairwise",
    simultaneous: bool = False,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """K networks learn together; each imitates the present predictions of all the others.

    For peer k: `L_k = CE(z_k, y) + weight / (K - 1) sum_{j != k} KL(p_j || p_k)`, means over the batch, no gradient into p_j.
    As in the paper the peers are updated one after another, later ones seeing what earlier ones have just learned.

    Args:
      peers: at least two nets, equal or not; the first is the one that is shipped.
      tx: the optimiser, one state a peer.
      temperature: softens both sides, with the factor T^2; 1 in the paper.
      weight: factor of the imitation term; 0 is independent training.
      target: `"pairwise"`, or `"mean"`: the one prediction of the mean of the others' logits.
      simultaneous: all peers imitate the predictions from before this step, instead of one after another.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the nets give the tap `"logits"`. Its networks are `"peer0"`, `"peer1"`, ...

    Reference: Zhang, Xiang, Hospedales and Lu, Deep Mutual Learning, CVPR 2018 (arXiv 1706.00384).
    """
    check_option("target", target, lambda v: v in ("pairwise", "mean"), "'pairwise' or 'mean'")

    def objective(seen, k):
        own, others = seen.logits[k], [z for j, z in enumerate(seen.logits) if j != k]
        targets = others if target == "pairwise" else [jnp.mean(jnp.stack(others), axis=0)]
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, own, seen.batch),
            "imitation": sum(losses.kl_distillation(own, z, temperature=temperature) for z in targets) / len(targets),
        }

    return side_by_side(
        peers, tx, objective, weights={"imitation": weight}, simultaneous=simultaneous, axis_name=axis_name, micro=micro
    )
