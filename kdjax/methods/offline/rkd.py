"""Relational knowledge distillation."""

from kdjax import losses
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of, tap


def rkd_objective(*, distance_weight: Weight = 25.0, angle_weight: Weight = 50.0) -> Objective:
    """A batch's images form the same shape in the student's pooled features as in the teacher's.

    `L_x = 25 mean over i, j of huber(D_s - D_t) + 50 mean over i, j, k of huber(A_s - A_t)`, D the distances in units of their
    mean, A the cosines of the angles at i from j to k.

    Args:
      distance_weight: factor of the distances.
      angle_weight: factor of the angles.

    Reference: Park, Kim, Lu and Cho, Relational Knowledge Distillation, CVPR 2019 (arXiv 1904.05068).
    """

    def terms(seen, adapted):
        sides = tap("student", seen.student, "pooled"), tap("teacher", seen.teacher, "pooled")
        return {
            "distances": losses.relational_distance(*sides, axis_name=seen.axis_name),
            "angles": losses.relational_angle(*sides, axis_name=seen.axis_name),
        }

    return Objective(terms, {"distances": distance_weight, "angles": angle_weight})


rkd = method_of(rkd_objective)
