"""Decoupled knowledge distillation."""

import jax.numpy as jnp

from kdjax import losses
from kdjax.core import linear_warmup
from kdjax.methods.recipes import Objective, method_of


def dkd_objective(
    *,
    steps_per_epoch: int,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    warmup_epochs: int = 20,
    standardised: bool = False,
) -> Objective:
    """The student imitates the teacher's softened outputs for the true class and for the others apart.

    `L_x = min(epoch / warmup_epochs, 1) T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s))`, b the true class against the rest, q the
    other classes alone, epochs from 1. Where an image has no label, the teacher's first class stands for it.

    Args:
      steps_per_epoch: what the warm-up counts.
      alpha: weight of the true class.
      beta: weight of the others; the paper has 8 for resnet32x4, 6 for wide ResNets and VGG, 2 for resnet56 and 110; ImageNet 0.5.
      temperature: T, above 0; ImageNet 1.
      warmup_epochs: epochs until both terms count fully; 0: at once.
      standardised: whether both sides' logits get mean 0 and deviation 1 before (Sun et al., CVPR 2024, arXiv 2403.01427); that
        code has T 2 and both weights times 9.

    Reference: Zhao et al., Decoupled Knowledge Distillation, CVPR 2022 (arXiv 2203.08679).
    """

    def terms(seen, adapted):
        student, teacher, labels = seen.student["logits"], seen.teacher["logits"], seen.batch["label"]
        labels = jnp.where(labels < 0, jnp.argmax(teacher, -1), labels)
        if standardised:
            student, teacher = losses.standardise(student), losses.standardise(teacher)
        grown = linear_warmup(seen.step // steps_per_epoch + 1, warmup_epochs)

        def part(alpha, beta):
            return grown * losses.decoupled(student, teacher, labels, alpha=alpha, beta=beta, temperature=temperature)

        return {"true_class": part(1.0, 0.0), "other_classes": part(0.0, 1.0)}

    return Objective(terms, {"true_class": alpha, "other_classes": beta})


dkd = method_of(dkd_objective)
