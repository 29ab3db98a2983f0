"""Multi-scale feature extraction and fusion."""

from collections.abc import Sequence

import optax

from kdjax import losses
from kdjax.core import Method, Net, check_positive
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.mutual._fusion import fused, fused_terms
from kdjax.methods.mutual._ramp import ramped
from kdjax.methods.recipes import peers as side_by_side


def mfef(
    peers: Sequence[Net],
    tx: optax.GradientTransformation,
    *,
    steps_per_epoch: int,
    weight: Weight = 1.0,
    feature_weight: Weight = 0.0,
    temperature: float = 3.0,
    warmup_epochs: int = 80,
    scales: int = 4,
    reduction: int = 16,
    shared: bool = False,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """As `ffl`, where each map goes through extraction at several scales and a dual attention before all are fused.

    `L` is that of `ffl`, and `feature_weight sum_k mean (A(M(F_k)) - F)^2` beside, of the extracted maps and the fused one F, no
    gradient into F. M is `models.MultiScale`, A `models.DualAttention`. Without both it is `ffl`. Little of the paper was at hand:
    the modules and all weights are reconstructed from its abstract and from FFL, and no number of the paper is claimed for them.

    Args:
      peers: at least two nets whose last maps have one shape; the first is shipped, and `"together"` of its taps in `predict` is
        what the fused classifier says.
      tx: the optimiser, one state a peer, one of what they share and one of the modules.
      steps_per_epoch: what the warm-up counts.
      weight: factor of the imitation.
      feature_weight: factor of the distance of the maps.
      temperature: T, above 0.
      warmup_epochs: epochs until the imitation counts fully; 0: at once.
      scales: groups of channels in M; 0: without it.
      reduction: of the channels inside A; 0: without it.
      shared: whether the peers are branches, which share what lies in front of the last stage, or whole nets.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the nets give `"logits"` and the ends of their stages. Its networks are
      `"peer0"`, `"peer1"`, ...; beside them stand the modules, `"adapter"`.

    Reference: Zou, Teng and Niu, Multi-scale Feature Extraction and Fusion for Online Knowledge Distillation, ICANN 2022
    (arXiv 2206.08224).
    """
    check_positive(temperature=temperature)
    of_peer, together = fused_terms(temperature)

    def objective(seen, k):
        return {**of_peer(seen, k), "features": losses.hint(seen.adapted[f"seen{k}"], seen.adapted["map"])}

    return side_by_side(
        peers,
        tx,
        objective,
        weights={"imitation": ramped(weight, warmup_epochs, steps_per_epoch), "features": feature_weight},
        adapter=fused(scales=scales, reduction=reduction, axis_name=axis_name),
        together=together,
        shared=shared,
        axis_name=axis_name,
        micro=micro,
    )
