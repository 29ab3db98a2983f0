"""Class-wise self-knowledge distillation."""

from kdjax import losses
from kdjax.core import check_positive
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of
from kdjax.methods.self_distil.rows import anchors_of_pairs


def cs_kd_objective(*, weight: Weight = 1.0, temperature: float = 4.0) -> Objective:
    """An image's prediction imitates that of another image of its class.

    `L_x = T^2 KL(softmax(z' / T) || softmax(z / T))`, no gradient into z', the mean over the anchors. A batch holds pairs of one
    class, rows 2i and 2i + 1 (`data.pairs`): the first ones learn from the labels too; the second ones are passed apart, in
    training mode, so that they move the statistics of batch norm as well.

    Args:
      weight: factor of the term.
      temperature: T, above 0.

    Reference: Yun et al., Regularizing Class-wise Predictions via Self-knowledge Distillation, CVPR 2020 (arXiv 2003.13964).
    """
    check_positive(temperature=temperature)

    def terms(seen, adapted):
        return {"class_wise": losses.kl_distillation(seen.student["logits"], seen.partner["logits"], temperature=temperature)}

    return Objective(terms, {"class_wise": weight}, needs=(), sees=anchors_of_pairs)


cs_kd = method_of(cs_kd_objective, taught=False)
