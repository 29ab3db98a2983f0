"""Distillation from a stronger teacher."""

from kdjax import losses
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of


def dist_objective(*, weight: Weight = 2.0, beta: float = 1.0, gamma: float = 1.0, temperature: float = 4.0) -> Objective:
    """The student's outputs vary as the teacher's do, over the classes of an image and over the images of a batch.

    `L_x = tau^2 (beta (1 - mean_i rho_i) + gamma (1 - mean_k rho_k))`, rho Pearson's correlation of the softened outputs of row i,
    and of class k over the batch.

    Args:
      weight: factor of the term, which holds tau^2.
      beta: weight of the correlation over classes.
      gamma: weight of the correlation over the batch; 32 rows or more are advised.
      temperature: tau, above 0; 4 on CIFAR-100, 1 on ImageNet.

    Reference: Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022 (arXiv 2205.10536); weights as in its
    code, where the paper has beta = gamma = 2.
    """

    def terms(seen, adapted):
        options = {"beta": beta, "gamma": gamma, "temperature": temperature, "axis_name": seen.axis_name}
        return {"correlation": losses.dist(seen.student["logits"], seen.teacher["logits"], **options)}

    return Objective(terms, {"correlation": weight})


dist = method_of(dist_objective)
