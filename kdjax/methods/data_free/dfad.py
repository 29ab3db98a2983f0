"""Data-free adversarial distillation."""

import optax

from kdjax import losses
from kdjax.core import Method, Net
from kdjax.core.arrays import AxisName
from kdjax.methods import recipes
from kdjax.methods.data_free._generator import data_free
from kdjax.methods.recipes import Objective


def dfad(
    student: Net,
    teacher: Net,
    generator: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    *,
    latent: int = 256,
    student_steps: int = 5,
    objective: Objective | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A generator makes images on which the logits of student and teacher lie apart; the student brings them together.

    Generator: `- mean |z_s - z_t|`, over batch and classes. Student: `mean |z_s - z_t|`, on new images in each of its steps.

    The authors' 500 epochs on CIFAR-10 hold 50 steps of batch 256 each; the student's SGD has rate 0.1, momentum 0.9 and decay
    5e-4, the generator's Adam 1e-3, both times 0.1 after epochs 100 and 200.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net, with the tap `"logits"`.
      generator: latents to images in [0, 1].
      student_tx: the student's optimiser.
      generator_tx: the generator's optimiser.
      latent: length of a latent vector.
      student_steps: student steps for each generator step.
      objective: what the student is asked for in place of the logits: that of any offline method.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`; beside them stands the `"generator"`.

    Reference: Fang et al., Data-Free Adversarial Distillation, 2019 (arXiv 1912.11006).
    """

    def terms(seen):
        return {"adversarial": -losses.logit_discrepancy(seen.student["logits"], seen.teacher["logits"])}, ()

    def discrepancy(seen, adapted):
        return {"discrepancy": losses.logit_discrepancy(seen.student["logits"], seen.teacher["logits"])}

    asked = objective or Objective(discrepancy, {"discrepancy": 1.0})
    return data_free(
        recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name), generator, generator_tx, terms,
        weights={}, latent=latent, student_steps=student_steps, axis_name=axis_name,
    )  # fmt: skip
