"""Probabilistic knowledge transfer."""

from typing import Literal

from kdjax import losses
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of, tap


def pkt_objective(*, weight: Weight = 30000.0, variant: Literal["mean", "paper"] = "mean") -> Objective:
    """From each image the others are as likely neighbours in the student's pooled features as in the teacher's.

    `L_x = mean over i, j of P_t log((P_t + 1e-7) / (P_s + 1e-7))`, `P[i, :]` = `(1 + cosine) / 2` of the batch's features scaled to
    sum 1; the mean over B^2 is why the weight is large.

    Args:
      weight: factor of the term; the paper's sum is B^2 times a mean.
      variant: `"paper"` leaves out the diagonal, and takes the sum.

    Reference: Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV 2018 (arXiv
    1803.10837); the default is the code of Tian et al., ICLR 2020 (arXiv 1910.10699).
    """

    def terms(seen, adapted):
        sides = tap("student", seen.student, "pooled"), tap("teacher", seen.teacher, "pooled")
        return {"neighbours": losses.probabilistic_transfer(*sides, variant=variant, axis_name=seen.axis_name)}

    return Objective(terms, {"neighbours": weight})


pkt = method_of(pkt_objective)
