"""The focal loss in place of the cross-entropy."""

from kdjax import losses
from kdjax.core import check_option, masked_loss
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of


def focal_objective(*, weight: Weight = 1.0, gamma: float = 2.0) -> Objective:
    """What is predicted well already counts less.

    `L = -(1 - p_y)^gamma log p_y`, the mean over the batch. Labels are class numbers: the paper does not say what the weight
    of a distribution over classes is, as mixed images have, and these are refused.

    Args:
      weight: factor of the term.
      gamma: at least 0; 0 is the cross-entropy.

    Reference: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017 (arXiv 1708.02002).
    """
    check_option("gamma", gamma, lambda g: g >= 0, "a number, at least 0")

    def terms(seen, adapted):
        return {"focal": masked_loss(losses.focal, seen.student["logits"], seen.batch, gamma=gamma)}

    return Objective(terms, {"focal": weight}, needs=())


focal = method_of(focal_objective, label_weight=None, taught=False)
