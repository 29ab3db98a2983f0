"""Dropout in front of the last layer."""

from kdjax import losses
from kdjax.core import check_option, masked_loss
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of
from kdjax.methods.self_distil.sd_dropout import dropped_logits


def dropout_objective(*, weight: Weight = 1.0, rate: float = 0.5) -> Objective:
    """The labels of what a dropout mask leaves of the pooled features: the control of `sd_dropout`, without its agreement.

    `L = CE(W (u h / (1 - rate)) + b, y)`, the mean over the batch, with a mask u drawn for each image.

    Args:
      weight: factor of the term.
      rate: chance to drop a feature, from 0 to below 1; 0 is the cross-entropy.

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting, JMLR 2014.
    """
    check_option("rate", rate, lambda r: 0 <= r < 1, "a number from 0 to below 1")

    def terms(seen, adapted):
        return {"cross_entropy": masked_loss(losses.cross_entropy, dropped_logits(seen, rate), seen.batch)}

    return Objective(terms, {"cross_entropy": weight}, needs=())


dropout = method_of(dropout_objective, label_weight=None, taught=False, columns=("image", "label", "index"))
