"""Zero-shot knowledge transfer."""

from collections.abc import Sequence

import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net
from kdjax.core.arrays import AxisName
from kdjax.methods import recipes
from kdjax.methods.data_free._generator import data_free
from kdjax.methods.data_free._terms import disagreement
from kdjax.methods.recipes import Objective, pairs, several


def zskt(
    student: Net,
    teacher: Net,
    generator: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    *,
    attention: float = 250.0,
    layers: Sequence[str] = (),
    latent: int = 100,
    student_steps: int = 10,
    objective: Objective | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A generator makes images on which student and teacher differ; the student imitates predictions and attention of the teacher.

    Generator: `- KL(p_t || p_s) / K`. Student: `KL(p_t || p_s) / K + attention sum over stages of mean (a_s - a_t)^2`, `a` the mean
    square over channels of a map, of length 1 over positions; K classes, as the authors' code takes the mean over them, to which
    its factor 250 belongs. All student steps see the images that the updated generator makes of the same latents.

    The authors clip both gradients to norm 5; their Adam has 1e-3 for the generator, 2e-3 for the student, by a cosine over 80,000
    batches of 128. The benchmark of Fang et al. (arXiv 2105.08584) has `attention=0, student_steps=5`.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net, with the tap `"logits"` and the maps compared.
      generator: latents to images in [0, 1].
      student_tx: the student's optimiser.
      generator_tx: the generator's optimiser.
      attention: factor of the attention term; 0 leaves it out, as for two nets with other stages.
      layers: which maps are compared, as in `recipes.pairs`; empty: the ends of all stages.
      latent: length of a latent vector.
      student_steps: student steps for each generator step.
      objective: what the student is asked for in place of both terms: that of any offline method.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`; beside them stands the `"generator"`.

    Reference: Micaelli and Storkey, Zero-Shot Knowledge Transfer via Adversarial Belief Matching, NeurIPS 2019 (arXiv 1905.09768).
    """

    def terms(seen):
        return {"adversarial": disagreement(seen) / seen.teacher["logits"].shape[-1]}, ()

    def belief_matching(seen, adapted):
        student, teacher = seen.student["logits"], seen.teacher["logits"]
        found = {"distillation": losses.kl_distillation(student, teacher, temperature=1.0) / teacher.shape[-1]}
        if attention:
            if several(seen.teacher) and not layers:
                wanted = "expected attention=0, or layers=('stage1=teacher0/stage1', ...)"
                raise InputError(f"attention={attention} compares the stages of one teacher, and here are several: {wanted}")
            found["attention"] = sum(losses.attention_transfer(s, t) for s, t in pairs(seen, layers))
        return found

    asked = objective or Objective(belief_matching, {"distillation": 1.0, "attention": attention})
    return data_free(
        recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name), generator, generator_tx, terms,
        weights={}, latent=latent, student_steps=student_steps, images="same", axis_name=axis_name,
    )  # fmt: skip
