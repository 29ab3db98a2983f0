"""A penalty on sure predictions."""

from kdjax import losses
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of


def confidence_penalty_objective(*, weight: Weight = 0.1) -> Objective:
    """The entropy of predictions is to be high.

    `L_x = sum_k p_k log p_k`, the mean over the batch.

    Args:
      weight: beta; 0.1 in the paper. Self-KD-Lib has 0.5 over the number of classes.

    Reference: Pereyra et al., Regularizing Neural Networks by Penalizing Confident Output Distributions, 2017 (arXiv 1701.06548).
    """

    def terms(seen, adapted):
        return {"confidence": losses.confidence_penalty(seen.student["logits"])}

    return Objective(terms, {"confidence": weight}, needs=())


confidence_penalty = method_of(confidence_penalty_objective, taught=False)
