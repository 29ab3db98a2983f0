"""Feature fusion learning."""

from collections.abc import Sequence

import optax

from kdjax.core import Method, Net, check_positive
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.mutual._fusion import fused, fused_terms
from kdjax.methods.mutual._ramp import ramped
from kdjax.methods.recipes import peers as side_by_side


def ffl(
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
    """A classifier of the maps of all peers teaches each of them, and the mean of their logits teaches it.

    With z_f the logits of `models.fusion` and z_e the mean of the peers': `L = CE(z_f, y) + sum_k CE(z_k, y) +
    w(e) (KD(z_f, z_e) + sum_k KD(z_k, z_f))` with `KD(z, t) = T^2 KL(softmax(t / T) || softmax(z / T))`, means over the batch, no
    gradient into t. The gradient of z_f flows into the peers' maps. `w(e) = weight exp(-5 (1 - e / warmup_epochs)^2)` until epoch
    `warmup_epochs`.

    Args:
      peers: at least two nets whose last maps have one shape; the first is shipped, and `"together"` of its taps in `predict` is
        what the fused classifier says.
      tx: the optimiser, one state a peer, one of what they share and one of the fusion, which has a weight decay of its own in the
        authors' code.
      steps_per_epoch: what the warm-up counts.
      weight: factor of the imitation.
      temperature: T, above 0.
      warmup_epochs: epochs until the imitation counts fully, 80 of 300 in the authors' code; 0: at once.
      shared: whether the peers are branches, which share what lies in front of the last stage, as in the authors' code, or whole
        nets.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the nets give `"logits"` and the ends of their stages. Its networks are
      `"peer0"`, `"peer1"`, ...; beside them stands the fusion, `"adapter"`.

    Reference: Kim, Hyun, Chung and Kwak, Feature Fusion for Online Mutual Knowledge Distillation, ICPR 2020 (arXiv 1904.09058).
    """
    check_positive(temperature=temperature)
    objective, together = fused_terms(temperature)
    return side_by_side(
        peers,
        tx,
        objective,
        weights={"imitation": ramped(weight, warmup_epochs, steps_per_epoch)},
        adapter=fused(axis_name=axis_name),
        together=together,
        shared=shared,
        axis_name=axis_name,
        micro=micro,
    )
