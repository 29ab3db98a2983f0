"""Momentum adversarial distillation."""

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net, check_option
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods import recipes
from kdjax.methods.data_free._generator import data_free, is_zero
from kdjax.methods.data_free._terms import behind, disagreement
from kdjax.methods.recipes import Objective


def mad(
    student: Net,
    teacher: Net,
    generator: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    *,
    decay: float = 0.95,
    new_weight: float = 1.0,
    replay_weight: float = 1.0,
    adversarial: Weight = 1.0,
    bound: float = 1.0,
    conditional: bool = False,
    label: Weight = 1.0,
    embedding: Weight = 1.0,
    warm_up: int = 0,
    latent: int = 256,
    student_steps: int = 10,
    objective: Objective | None = None,
    classes: int | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A student learns from a generator and from the generator's moving average, which replays what it forgets.

    Generator: `- adversarial min(KL(p_t || p_s), bound)`, and for a conditional one `+ label CE(z_t, y) +
    embedding max(|e_y|^2 - 1, 0)`, `e_y` the trained embedding of the class that is added to the latent. Student:
    `new_weight KL(p_t || p_s)` on its images and `replay_weight KL(p_t || p_s)` on those of the average, of other latents and
    labels, each half of the batch with batch statistics of its own. After each generator step
    `average = decay average + (1 - decay) generator`. `replay_weight=0` is ABM, the baseline of the
    paper. How far a step moves the student's predictions on images of fixed latents is logged for both, `generator_shift` and
    `average_shift`.

    `decay` and the form of the terms are the paper's, as far as they are known; the other factors and the bound are guesses, as is
    the form of the embedding's regulariser, and there is no code.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net, with the tap `"logits"`.
      generator: latents to images in [0, 1]; a conditional one, of `{"latent", "label"}`.
      student_tx: the student's optimiser.
      generator_tx: the generator's optimiser.
      decay: of the moving average, from 0 to below 1.
      new_weight: factor of the student's term on images of the generator.
      replay_weight: factor of the student's term on images of the average.
      adversarial: factor of the disagreement.
      bound: the most that the disagreement of an image counts, in nats, above 0.
      conditional: whether the generator is asked for a class, for data of many classes.
      label: factor of the cross-entropy of the teacher with the labels asked for.
      embedding: factor of the regulariser that keeps the embeddings of a conditional generator short; 0 leaves it out.
      warm_up: first steps, in which a conditional generator learns its classes and embeddings, without the disagreement, and the
        student does not learn.
      latent: length of a latent vector.
      student_steps: student steps for each generator step.
      objective: what the student is asked for in place of both terms: that of any offline method.
      classes: of the teacher, for a conditional generator.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`; beside them stand the `"generator"` and the `"average_generator"`.

    Reference: Do et al., Momentum Adversarial Distillation: Handling Large Distribution Shifts in Data-Free Knowledge Distillation,
    NeurIPS 2022 (arXiv 2209.10359).
    """
    if conditional and not classes:
        raise InputError(f"classes={classes} is not accepted: a conditional generator needs the number of classes")
    if objective is None and is_zero(new_weight) and is_zero(replay_weight):
        raise InputError("new_weight=0 and replay_weight=0 are not accepted together: the student learns from one or both")
    wanted = "0 where the generator knows no classes: it learns nothing without the disagreement"
    check_option("warm_up", warm_up, lambda n: conditional or n == 0, wanted)
    check_option("decay", decay, lambda d: 0 <= d < 1, "a number from 0 to below 1")

    def terms(seen):
        found = {"adversarial": -losses.bounded(-disagreement(seen), bound=bound)}
        if conditional:
            found["label"] = losses.cross_entropy(seen.teacher["logits"], seen.labels)
        if conditional and not is_zero(embedding):
            if "class_embedding" not in seen.made:
                raise InputError(f"embedding={embedding} is not accepted: this generator embeds no classes; 0 leaves the term out")
            found["embedding"] = jax.nn.relu(jnp.sum(seen.made["class_embedding"] ** 2, -1) - 1)
        return found, ()

    def both(seen, adapted):
        apart = losses.kl_distillation(seen.student["logits"], seen.teacher["logits"], temperature=1.0)
        # The mean over the batch is that of two halves, each of which counts as a whole.
        return {"distillation": apart * 2 * jnp.where(seen.batch["replayed"], replay_weight, new_weight)}

    asked = objective or Objective(both, {"distillation": 1.0})
    # Slices of accumulation hold every other row: one the generator's, one the average's. Other objectives may couple rows.
    learner = recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name, micro=1 if objective else 2)
    return data_free(
        learner, generator, generator_tx, terms, latent=latent, student_steps=student_steps, decay=decay, warm_up=warm_up,
        weights={"adversarial": behind(warm_up, adversarial), "label": label, "embedding": embedding},
        classes=classes if conditional else None, axis_name=axis_name,
    )  # fmt: skip
