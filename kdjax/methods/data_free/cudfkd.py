"""Data-free distillation with a curriculum."""

import math
from typing import Literal

import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_option, check_positive
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods import recipes
from kdjax.methods.data_free._generator import data_free
from kdjax.methods.data_free._terms import batch_norm_term
from kdjax.methods.recipes import Objective


def cudfkd(
    student: Net,
    teacher: Net,
    generator: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    *,
    steps: int,
    steps_per_epoch: int,
    increment: float = 0.5,
    begin: float = 0.25,
    end: float = 0.75,
    one_hot: Weight = 1.0,
    batch_norm: Weight = 1.0,
    balance: Weight = 20.0,
    balance_temperature: float = 20.0,
    adversarial_temperature: float = 3.0,
    kind: Literal["log", "hard", "soft", "none"] = "log",
    age: float = 2.0,
    ageing: float = 1e-4,
    temperature: float = 1.0,
    latent: int = 512,
    student_steps: int = 10,
    objective: Objective | None = None,
    axis_name: AxisName = None,
) -> Method:
    """From easy to hard: the adversarial term grows with the epochs, and the student weighs its images, easy ones first.

    Generator: `one_hot CE(z_t, argmax z_t) + batch_norm sum_l D_l + balance sum_k p_k log p_k - a(e) m T^2 KL(p_t || p_s)`, `p` the
    teacher's mean prediction at `balance_temperature`, `m` 1 where student and teacher name the same class, T the
    `adversarial_temperature`. `a` begins with 0 and gains `increment` behind each epoch e with `begin E < e < end E`.
    Student: the mean of `v l` over the batch, `l = T^2 KL(p_t || p_s)` of an image and `v` its `losses.self_paced` weight at the
    age `age + ageing i`, i its steps so far.

    The defaults are those of CIFAR-10; CIFAR-100 has `increment=0.35, begin=0.2, end=0.8, balance_temperature=5, ageing=2e-5`. The
    released code weighs whole batches, since its loss is a mean already; here the loss is one of each image, as in the paper.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net, with the tap `"logits"`, and batch norm where `batch_norm` is not 0.
      generator: latents to images in [0, 1]; its running statistics make the images for the student.
      student_tx: the student's optimiser.
      generator_tx: the generator's optimiser.
      steps: generator steps of the run.
      steps_per_epoch: generator steps of an epoch; 40 in the paper.
      increment: what the adversarial factor gains behind an epoch.
      begin: share of the epochs behind which it begins to grow.
      end: share of the epochs behind which it stays.
      one_hot: factor of the confidence term.
      batch_norm: factor of the batch-norm statistics term.
      balance: factor of the class balance term.
      balance_temperature: of the teacher in the class balance term.
      adversarial_temperature: of both in the adversarial term.
      kind: of the weights, as in `losses.self_paced`; `"none"`: all images count 1.
      age: of the weights in the first step, above 0.
      ageing: what the age gains in each student step.
      temperature: T of the student's imitation.
      latent: length of a latent vector.
      student_steps: student steps for each generator step.
      objective: what the student is asked for in place of the weighed imitation: that of any offline method.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`; beside them stands the `"generator"`.

    Reference: Li et al., Dynamic Data-Free Knowledge Distillation by Easy-to-Hard Learning Strategy, Information Sciences 2023
    (arXiv 2208.13648).
    """
    check_option("begin", begin, lambda b: 0 <= b < end <= 1, f"a share of the epochs below end={end}, which is at most 1")
    check_option("kind", kind, lambda k: k in ("log", "hard", "soft", "none"), "'log', 'hard', 'soft' or 'none'")
    check_positive(age=age, balance_temperature=balance_temperature)
    for name, least in {"ageing": ageing, "increment": increment}.items():
        check_option(name, least, lambda x: x >= 0, "a number, 0 or more")
    epochs = steps / steps_per_epoch
    first, last = math.floor(begin * epochs) + 1, math.ceil(end * epochs) - 1  # the epochs between the two shares

    def adversarial(step):
        return increment * jnp.clip(jnp.minimum(step // steps_per_epoch, last + 1) - first, 0)

    def terms(seen):
        student, teacher = seen.student["logits"], seen.teacher["logits"]
        return {
            "one_hot": losses.one_hot_confidence(teacher),
            "batch_norm": batch_norm_term(seen, batch_norm),
            "balance": losses.class_balance(teacher / balance_temperature, axis_name=axis_name),
            "adversarial": losses.decision_adversarial(student, teacher, temperature=adversarial_temperature),
        }, ()

    def easy_first(seen, adapted):
        apart = losses.kl_distillation(seen.student["logits"], seen.teacher["logits"], temperature=temperature)
        if kind == "none":
            return {"distillation": apart}
        return {"distillation": losses.self_paced(apart, age=age + ageing * seen.step, kind=kind) * apart}

    asked = objective or Objective(easy_first, {"distillation": 1.0})
    weights = {"one_hot": one_hot, "batch_norm": batch_norm, "balance": balance, "adversarial": adversarial}
    return data_free(
        recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name), generator, generator_tx, terms,
        weights=weights, latent=latent, student_steps=student_steps, statistics="running", axis_name=axis_name,
    )  # fmt: skip
