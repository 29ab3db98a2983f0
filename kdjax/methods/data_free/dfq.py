"""Data-free network quantisation's distillation."""

from typing import Literal

import optax

from kdjax import losses
from kdjax.core import Method, Net
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods import recipes
from kdjax.methods.data_free._generator import data_free
from kdjax.methods.data_free._terms import batch_norm_term, disagreement
from kdjax.methods.offline.kd import kd_objective


def dfq(
    student: Net,
    teacher: Net,
    generator: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    *,
    adversarial: Weight = 1.0,
    batch_norm: Weight = 1.0,
    one_hot: Weight = 1.0,
    balance: Weight = 20.0,
    form: Literal["norm", "gaussian"] = "norm",
    temperature: float = 1.0,
    latent: int = 256,
    student_steps: int = 10,
    objective: recipes.Objective | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A generator makes images on which student and teacher differ, and which have the statistics of the teacher's data.

    Generator: `- adversarial KL(p_t || p_s) + batch_norm sum_l D_l + one_hot CE(z_t, argmax z_t) + balance sum_k p_k log p_k`, with
    `p` the teacher's mean prediction and `D_l` the distance at its batch-norm layer l. Student: `T^2 KL(p_t || p_s)`.

    The defaults are those of the benchmark (Fang et al., arXiv 2105.08584), whose tables papers compare on: there is no code of the
    authors'. `form="gaussian"` takes the divergence between Gaussians that the paper states for `D_l`; the paper's other factors
    are not known here for certain.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net, with the tap `"logits"`, and batch norm where `batch_norm` is not 0.
      generator: latents to images in [0, 1].
      student_tx: the student's optimiser.
      generator_tx: the generator's optimiser.
      adversarial: factor of the disagreement with the student.
      batch_norm: factor of the batch-norm statistics term.
      one_hot: factor of the confidence term.
      balance: factor of the class balance term.
      form: `losses.batch_norm_statistics` (`"norm"`) or `losses.batch_norm_gaussian`.
      temperature: T of the student's imitation.
      latent: length of a latent vector.
      student_steps: student steps for each generator step.
      objective: what the student is asked for in place of the imitation: that of any offline method.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`; beside them stands the `"generator"`.

    Reference: Choi et al., Data-Free Network Quantization With Adversarial Knowledge Distillation, CVPR Workshops 2020
    (arXiv 2005.04136).
    """

    def terms(seen):
        teacher = seen.teacher["logits"]
        return {
            "adversarial": disagreement(seen),
            "batch_norm": batch_norm_term(seen, batch_norm, form),
            "one_hot": losses.one_hot_confidence(teacher),
            "balance": losses.class_balance(teacher, axis_name=axis_name),
        }, ()

    weights = {"adversarial": adversarial, "batch_norm": batch_norm, "one_hot": one_hot, "balance": balance}
    asked = objective or kd_objective(weight=1.0, temperature=temperature)
    return data_free(
        recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name), generator, generator_tx, terms,
        weights=weights, latent=latent, student_steps=student_steps, axis_name=axis_name,
    )  # fmt: skip
