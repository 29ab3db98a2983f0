"""Distillation of standardised logits."""

from kdjax import losses
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of


def lskd_objective(*, weight: Weight = 9.0, temperature: float = 2.0, ddof: int = 1) -> Objective:
    """The student imitates the shape of the teacher's logits, not their size.

    `L_x = T^2 KL(softmax(n(z_t) / T) || softmax(n(z_s) / T))`, n(z) = z with mean 0 and standard deviation 1 over the classes;
    beside the labels at 0.1. `dkd` and `mlkd` take standardised logits by an option of theirs.

    Args:
      weight: factor of the term, which holds T^2; the authors have 12 for some pairs.
      temperature: T, above 0; 3 or 4 for some pairs.
      ddof: the deviation divides by K - ddof: 1 as in the authors' code, 0 as in the paper.

    Reference: Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024 (arXiv 2403.01427).
    """

    def terms(seen, adapted):
        sides = seen.student["logits"], seen.teacher["logits"]
        return {"distillation": losses.logit_standardised(*sides, temperature=temperature, ddof=ddof)}

    return Objective(terms, {"distillation": weight})


lskd = method_of(lskd_objective, label_weight=0.1)
