"""Branches of one net, each taught by the others."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_optimiser, check_positive, masked_loss
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.mutual._ramp import ramped
from kdjax.methods.recipes import peers as side_by_side


def cl_ilr(
    peers: Sequence[Net],
    tx: optax.GradientTransformation,
    *,
    steps_per_epoch: int,
    weight: Weight = 1.0,
    temperature: float = 3.0,
    warmup_epochs: int = 80,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Branches of one net learn from the labels and from the mean of the others' logits; the gradient of what they share is a mean.

    For branch k of m: `L_k = CE(z_k, y) + w(e) T^2 KL(softmax(t_k / T) || softmax(z_k / T))` with `t_k` the mean of `z_j` over
    `j != k`, no gradient into it; what lies in front of the last stage goes down `1 / m` of the gradient of their sum.
    `w(e) = weight exp(-5 (1 - e / warmup_epochs)^2)` until epoch `warmup_epochs`.

    Args:
      peers: at least two nets, equal up to their last stage, which share what lies in front of it. The first is shipped.
      tx: the optimiser, one state a branch and one of what they share.
      steps_per_epoch: what the warm-up counts.
      weight: factor of the imitation.
      temperature: T, above 0.
      warmup_epochs: epochs until the imitation counts fully; 0: at once.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the nets give `"logits"` and the ends of their stages. Its networks are
      `"peer0"`, `"peer1"`, ...

    Reference: Song and Chai, Collaborative Learning for Deep Neural Networks, NeurIPS 2018 (arXiv 1805.11761); the temperature and
    the warm-up are those of OKDDip's code (Chen et al., AAAI 2020, arXiv 1912.00350), whose targets have a gradient.
    """
    check_positive(temperature=temperature)
    check_optimiser(tx)

    def objective(seen, k):
        own, others = seen.logits[k], [z for j, z in enumerate(seen.logits) if j != k]
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, own, seen.batch),
            "imitation": losses.kl_distillation(own, jnp.mean(jnp.stack(others), axis=0), temperature=temperature),
        }

    return side_by_side(
        peers,
        tx,
        objective,
        weights={"imitation": ramped(weight, warmup_epochs, steps_per_epoch)},
        shared=True,
        trunk_tx=optax.chain(optax.scale(1 / max(len(peers), 1)), tx),
        axis_name=axis_name,
        micro=micro,
    )
