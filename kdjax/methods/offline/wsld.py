"""Distillation of weighted soft labels."""

import jax.numpy as jnp

from kdjax import losses
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of


def wsld_objective(*, weight: Weight = 2.5, temperature: float = 2.0) -> Objective:
    """The student imitates the teacher most on the images it knows worse than the teacher does.

    `L_x = w T^2 KL(softmax(z_t / T) || softmax(z_s / T))`, `w = 1 - exp(-CE(z_s, y) / CE(z_t, y))` an image. Where an image has no
    label, the teacher's first class stands for it.

    Args:
      weight: factor of the term, which holds T^2; the default is that of the released ImageNet code, as is T.
      temperature: T, above 0.

    Reference: Zhou et al., Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff Perspective, ICLR 2021
    (arXiv 2102.00650).
    """

    def terms(seen, adapted):
        student, teacher, labels = seen.student["logits"], seen.teacher["logits"], seen.batch["label"]
        labels = jnp.where(labels < 0, jnp.argmax(teacher, -1), labels)
        return {"distillation": losses.weighted_soft_labels(student, teacher, labels, temperature=temperature)}

    return Objective(terms, {"distillation": weight})


wsld = method_of(wsld_objective)
