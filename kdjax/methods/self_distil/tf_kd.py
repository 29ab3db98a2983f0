"""Teacher-free distillation."""

from typing import Literal

from kdjax import losses
from kdjax.core import check_positive, check_share, masked_loss
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of


def tf_kd_objective(
    *,
    weight: Weight = 1.0,
    correct: float = 0.9,
    temperature: float = 20.0,
    variant: Literal["library", "official"] = "library",
) -> Objective:
    """A virtual teacher that is mostly right, and gives all other classes the same.

    `L_x = -1 / T sum_k u_k log softmax(z / T)_k`, with `u` the distribution that gives `correct` to the label: the regularisation
    of Tf-KD as in Self-KD-Lib, whose cross-entropy stands beside it. Labels are class numbers: the paper has no virtual teacher of
    mixed images, and distributions over classes are refused.

    Args:
      weight: factor of the term.
      correct: what the virtual teacher gives to the label, in [0, 1].
      temperature: T, above 0.
      variant: `"library"`, or `"official"`, `KL(softmax(u / T) || softmax(z))`: the authors have label_weight 0.9, weight
        0.1 and correct 0.99.

    Reference: Yuan et al., Revisiting Knowledge Distillation via Label Smoothing Regularization, CVPR 2020 (arXiv 1909.11723).
    """
    check_share(correct=correct)
    check_positive(temperature=temperature)
    options = {"correct": correct, "temperature": temperature, "variant": variant}

    def terms(seen, adapted):
        return {"virtual_teacher": masked_loss(losses.teacher_free, seen.student["logits"], seen.batch, **options)}

    return Objective(terms, {"virtual_teacher": weight}, needs=())


tf_kd = method_of(tf_kd_objective, taught=False)
