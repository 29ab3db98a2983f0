"""Conditional generative data-free distillation."""

from collections.abc import Sequence

import optax

from kdjax import losses
from kdjax.core import Method, Net
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods import recipes
from kdjax.methods.data_free._generator import data_free
from kdjax.methods.data_free._terms import batch_norm_term, behind, disagreement
from kdjax.methods.offline.at import at_objective
from kdjax.methods.offline.kd import kd_objective
from kdjax.methods.recipes import Objective


def cgdd(
    student: Net,
    teacher: Net,
    generator: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    *,
    classes: int,
    label: Weight = 1.0,
    activation: Weight = 0.1,
    balance: Weight = 5.0,
    batch_norm: Weight = 0.0,
    adversarial: Weight = 0.0,
    student_label: Weight = 1.0,
    attention: Weight = 10.0,
    layers: Sequence[str] = (),
    temperature: float = 4.0,
    warm_up: int = 0,
    latent: int = 100,
    student_steps: int = 1,
    objective: Objective | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A generator makes images of a class that is asked for; the student learns class, prediction and attention of the teacher.

    Generator: `label CE(z_t, y) - activation mean|f_t| + balance sum_k p_k log p_k`, `y` drawn equally often and `p` the teacher's
    mean prediction; optionally `batch_norm sum_l D_l` of the statistics of its batch-norm layers, and, as in the fourth version of
    the paper, `- adversarial KL(p_t || p_s)`. Student: `T^2 KL(p_t || p_s) + student_label CE(z_s, y) + attention sum over stages
    of mean (a_s - a_t)^2`, `a` as in `at`.

    A reconstruction: the paper's abstract names the ingredients; all factors are practice of DAFL and guesses, there is no code,
    and the batch-norm term is one of plain norms. An `attention` of 1000, as in `at`, swamps the other terms on small images. A
    class asked for means little in the first steps of a generator: these may be a `warm_up`, or `student_label` a function of the
    step.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net, with the taps `"pooled"`, `"logits"` and the maps compared.
      generator: `{"latent": [B, latent], "label": [B]}` to images in [0, 1].
      student_tx: the student's optimiser.
      generator_tx: the generator's optimiser.
      classes: of the teacher.
      label: factor of the teacher's cross-entropy with the class asked for.
      activation: factor of the activation term.
      balance: factor of the class balance term.
      batch_norm: factor of the batch-norm statistics term.
      adversarial: factor of the disagreement with the student.
      student_label: factor of the student's cross-entropy with the class asked for.
      attention: factor of the attention term; 0 leaves it out.
      layers: which maps are compared, as in `recipes.pairs`; empty: the ends of all stages.
      temperature: T of the student's imitation.
      warm_up: first steps, in which the student does not learn and the disagreement with it does not count.
      latent: length of a latent vector.
      student_steps: student steps for each generator step.
      objective: what the student is asked for in place of its three terms: that of any offline method.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`; beside them stands the `"generator"`.

    Reference: Yu et al., Conditional Generative Data-Free Knowledge Distillation, Image and Vision Computing 2023
    (arXiv 2112.15358).
    """

    def terms(seen):
        teacher = seen.teacher["logits"]
        return {
            "label": losses.cross_entropy(teacher, seen.labels),
            "activation": losses.activation_norm(seen.teacher["pooled"]),
            "balance": losses.class_balance(teacher, axis_name=axis_name),
            "batch_norm": batch_norm_term(seen, batch_norm),
            "adversarial": disagreement(seen),
        }, ()

    weights = {
        "label": label,
        "activation": activation,
        "balance": balance,
        "batch_norm": batch_norm,
        "adversarial": behind(warm_up, adversarial),
    }
    own = [kd_objective(weight=1.0, temperature=temperature), recipes.labels_objective(student_label)]
    own += [at_objective(weight=attention, layers=layers)] if attention else []
    asked = objective or recipes.combine(*own)
    return data_free(
        recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name), generator, generator_tx, terms,
        weights=weights, latent=latent, student_steps=student_steps, warm_up=warm_up, images="same", classes=classes,
        axis_name=axis_name,
    )  # fmt: skip
