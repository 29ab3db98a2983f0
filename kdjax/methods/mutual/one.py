"""Branches of one net, taught by their gated ensemble."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_positive, masked_loss
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.mutual._ramp import ramped
from kdjax.methods.recipes import peers as side_by_side
from kdjax.models import gate, stage_names


def one(
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
    """Branches of one net learn from the labels and from their ensemble, whose shares a gate gives by what they all see.

    `z_e = sum_k g_k z_k` with `g = softmax(ReLU(BN(W mean(F))))`, F the map in front of the last stage, and
    `L = CE(z_e, y) + sum_k CE(z_k, y) + w(e) T^2 KL(softmax(z_e / T) || softmax(z_k / T))`, means over the batch, no gradient into
    z_e from the last. `w(e) = weight exp(-5 (1 - e / warmup_epochs)^2)` until epoch `warmup_epochs`.

    Args:
      peers: at least two nets, equal up to their last stage, which share what lies in front of it; the paper has three. The first
        is shipped; `"together"` of its taps in `predict` is the ensemble.
      tx: the optimiser, one state a branch, one of what they share and one of the gate.
      steps_per_epoch: what the warm-up counts.
      weight: factor of the imitation.
      temperature: T, above 0.
      warmup_epochs: epochs until the imitation counts fully, 80 of 300 in the authors' code; 0: at once.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the nets give `"logits"` and the ends of their stages. Its networks are
      `"peer0"`, `"peer1"`, ...; beside them stands the gate, `"adapter"`.

    Reference: Lan, Zhu and Gong, Knowledge Distillation by On-the-Fly Native Ensemble, NeurIPS 2018 (arXiv 1806.04606).
    """
    check_positive(temperature=temperature)

    def objective(seen, k):
        own = seen.logits[k]
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, own, seen.batch),
            "imitation": losses.kl_distillation(own, seen.adapted["logits"], temperature=temperature),
        }

    def together(seen):
        return {"cross_entropy": masked_loss(losses.cross_entropy, seen.adapted["logits"], seen.batch)}

    return side_by_side(
        peers,
        tx,
        objective,
        weights={"imitation": ramped(weight, warmup_epochs, steps_per_epoch)},
        adapter=_gated(gate(len(peers), axis_name=axis_name)),
        together=together,
        shared=True,
        axis_name=axis_name,
        micro=micro,
    )


def _gated(shares: Net) -> Net:
    """The ensemble of all branches as a Net of their taps."""

    def in_front(taps):
        return taps[0][stage_names(taps[0])[-2]]

    def init(key, taps):
        return shares.init(key, in_front(taps))

    def apply(params, stats, taps, *, train, key=None):
        found, stats = shares.apply(params, stats, in_front(taps), train=train, key=key)
        logits = jnp.einsum("bk,kbc->bc", found["shares"], jnp.stack([one["logits"] for one in taps]))
        return {"logits": logits}, stats

    return Net(init, apply)
