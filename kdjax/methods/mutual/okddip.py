"""Online distillation with diverse peers."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net, check_option, check_positive, masked_loss
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.mutual._ramp import ramped
from kdjax.methods.recipes import peers as side_by_side
from kdjax.models import peer_queries


def okddip(
    peers: Sequence[Net],
    tx: optax.GradientTransformation,
    *,
    steps_per_epoch: int,
    weight: Weight = 1.0,
    temperature: float = 3.0,
    warmup_epochs: int = 80,
    shared: bool = True,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Peers learn from targets that each of them weighs for itself, by attention; a leader learns from the mean of them.

    With the leader 0 and the other peers a, b: `t_a = sum_b A_ab z_b`, `A_ab = softmax over b of <W_q h_a, W_k h_b>` of the pooled
    features h, b = a among them, and `L = sum_k CE(z_k, y) + w(e) (sum_a KD(z_a, t_a) + KD(z_0, mean_a z_a))` with
    `KD(z, t) = T^2 KL(softmax(t / T) || softmax(z / T))`, means over the batch. The gradient flows into the targets, or W_q and W_k
    would learn nothing. `w(e) = weight exp(-5 (1 - e / warmup_epochs)^2)` until epoch `warmup_epochs`.

    Args:
      peers: at least three nets with as many pooled features: the leader, which is shipped, and others; the paper has four.
      tx: the optimiser, one state a peer, one of what they share and one of the attention.
      steps_per_epoch: what the warm-up counts.
      weight: factor of the imitation.
      temperature: T, above 0.
      warmup_epochs: epochs until the imitation counts fully, 80 of 300 in the authors' code; 0: at once.
      shared: whether the peers are branches, which share what lies in front of the last stage, or whole nets.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the nets give `"logits"` and `"pooled"`, branches the ends of their stages
      too. Its networks are `"peer0"`, the leader, `"peer1"`, ...; beside them stands the attention, `"adapter"`.

    Reference: Chen, Mei, Wang, Feng and Chen, Online Knowledge Distillation with Diverse Peers, AAAI 2020 (arXiv 1912.00350).
    """
    check_positive(temperature=temperature)
    check_option("peers", len(peers), lambda n: n >= 3, "3 or more, a leader and two others at least")

    def objective(seen, k):
        own, others = seen.logits[k], seen.logits[1:]
        target = seen.adapted["targets"][k - 1] if k else jnp.mean(jnp.stack(others), axis=0)
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, own, seen.batch),
            "imitation": losses.kl_distillation(own, target, temperature=temperature, stop_teacher=False),
        }

    return side_by_side(
        peers,
        tx,
        objective,
        weights={"imitation": ramped(weight, warmup_epochs, steps_per_epoch)},
        adapter=_targets(peer_queries()),
        shared=shared,
        axis_name=axis_name,
        micro=micro,
    )


def _targets(projections: Net) -> Net:
    """What each peer but the first makes of their logits, `"targets"` `[P - 1, B, K]`, as a Net of the taps of all."""

    def features(taps):
        found = [one["pooled"] for one in taps[1:]]
        if len({x.shape for x in found}) > 1:
            widths = ", ".join(str(x.shape[-1]) for x in found)
            raise InputError(f"the peers have {widths} pooled features: expected as many of each")
        return jnp.stack(found)

    def init(key, taps):
        return projections.init(key, features(taps))

    def apply(params, stats, taps, *, train, key=None):
        found, stats = projections.apply(params, stats, features(taps), train=train)
        attention = losses.peer_attention(found["queries"], found["keys"])
        return {"targets": jnp.einsum("bpq,qbk->pbk", attention, jnp.stack([one["logits"] for one in taps[1:]]))}, stats

    return Net(init, apply)
