"""Similarity-preserving distillation."""

from kdjax import losses
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of, pairs


def sp_objective(*, weight: Weight = 3000.0, layer: str = "") -> Objective:
    """Images that excite the teacher's last map alike excite the student's alike.

    `L_x = sum over i, j of (G_s - G_t)[i, j]^2 / B^2`, `G = f f^T` of the batch's flattened maps with rows of length 1.

    Args:
      weight: factor of the term.
      layer: the map, as in `pairs`; empty: the ends of the last stages.

    Reference: Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019 (arXiv 1907.09682).
    """

    def terms(seen, adapted):
        [(student, teacher)] = pairs(seen, (layer,))
        return {"similarity": losses.similarity_preserving(student, teacher, axis_name=seen.axis_name)}

    return Objective(terms, {"similarity": weight})


sp = method_of(sp_objective)
