"""Data-free learning of student networks."""

import math

import optax

from kdjax import losses
from kdjax.core import Method, Net
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods import recipes
from kdjax.methods.data_free._generator import data_free
from kdjax.methods.data_free._terms import batch_norm_term, disagreement
from kdjax.methods.offline.kd import kd_objective


def dafl(
    student: Net,
    teacher: Net,
    generator: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    *,
    one_hot: Weight = 1.0,
    balance: Weight = 20.0,
    activation: Weight = 1e-3,
    batch_norm: Weight = 0.0,
    adversarial: Weight = 0.0,
    temperature: float = 1.0,
    latent: int = 512,
    student_steps: int = 5,
    fresh: bool = True,
    log_base: float = math.e,
    objective: recipes.Objective | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A generator makes images that the teacher is sure of, finds varied and responds to; the student imitates it on them.

    Generator: `one_hot CE(z_t, argmax z_t) + balance sum_k p_k log p_k - activation mean|f_t|`, with `p` the teacher's mean
    prediction; optionally `batch_norm sum_l (|mu_l - running mu_l| + |var_l - running var_l|)`, L2 norms over the inputs of the
    teacher's batch-norm layers, and `- adversarial KL(p_t || p_s)` at T = 1. Student: `T^2 KL(p_t || p_s)`.

    The defaults are those of the benchmark (Fang et al., arXiv 2105.08584), whose tables papers compare on. The authors' own
    CIFAR-10 run is `one_hot=0.05, balance=5, activation=0.01, log_base=10, latent=1000, student_steps=1, fresh=False`.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net, with the taps `"pooled"` and `"logits"`, and batch norm where `batch_norm` is not 0.
      generator: latents to images in [0, 1].
      student_tx: the student's optimiser.
      generator_tx: the generator's optimiser.
      one_hot: factor of the confidence term.
      balance: factor of the class balance term.
      activation: factor of the activation term.
      batch_norm: factor of the batch-norm statistics term (DeepInversion's).
      adversarial: factor of the disagreement with the student.
      temperature: T of the student's imitation.
      latent: length of a latent vector.
      student_steps: student steps for each generator step.
      fresh: whether student steps draw images of their own.
      log_base: base of the logarithm in the balance term.
      objective: what the student is asked for in place of the imitation: that of any offline method.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`; beside them stands the `"generator"`.

    Reference: Chen et al., Data-Free Learning of Student Networks, ICCV 2019 (arXiv 1904.01186).
    """

    def terms(seen):
        teacher = seen.teacher["logits"]
        return {
            "one_hot": losses.one_hot_confidence(teacher),
            "balance": losses.class_balance(teacher, base=log_base, axis_name=axis_name),
            "activation": losses.activation_norm(seen.teacher["pooled"]),
            "batch_norm": batch_norm_term(seen, batch_norm),
            "adversarial": disagreement(seen),
        }, ()

    weights = {
        "one_hot": one_hot,
        "balance": balance,
        "activation": activation,
        "batch_norm": batch_norm,
        "adversarial": adversarial,
    }
    asked = objective or kd_objective(weight=1.0, temperature=temperature)
    return data_free(
        recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name), generator, generator_tx, terms,
        weights=weights, latent=latent, student_steps=student_steps, images="fresh" if fresh else "judged", axis_name=axis_name,
    )  # fmt: skip
