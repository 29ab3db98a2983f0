"""DeiT: a token that learns from the teacher."""

from typing import Any, Literal

import optax

from kdjax import losses
from kdjax.core import Method, Net, check_option, check_share
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import Objective, combine, labels_objective, tap
from kdjax.methods.recipes import student as one_student


def deit_objective(
    *,
    weight: Weight = 0.5,
    kind: Literal["hard", "soft"] = "hard",
    token: Literal["distillation", "class"] = "distillation",
    temperature: Any = 3.0,
    reduction: Literal["batchmean", "numel"] = "batchmean",
) -> Objective:
    """The linear layer on the student's distillation token imitates the teacher's decision, or its softened outputs.

    Hard: `L_x = -log softmax(z_d)[argmax z_t]`; soft: `L_x = T^2 KL(softmax(z_t / T) || softmax(z_d / T))`.

    Args:
      weight: factor of the term.
      kind: `"hard"` or `"soft"`.
      token: `"class"` asks the class token instead, for a net without the other one.
      temperature: T of the soft kind, above 0.
      reduction: of the soft kind; `"numel"` is the authors' code, whose term is smaller by the number of classes.

    Reference: Touvron et al., Training data-efficient image transformers & distillation through attention, ICML 2021 (arXiv
    2012.12877).
    """
    check_option("kind", kind, lambda k: k in ("hard", "soft"), "'hard' or 'soft'")
    check_option("token", token, lambda t: t in ("distillation", "class"), "'distillation' or 'class'")

    def terms(seen, adapted):
        # In training "logits" are those of the class token.
        student = tap("student", seen.student, "logits_distillation" if token == "distillation" else "logits")
        teacher = seen.teacher["logits"]
        if kind == "hard":
            return {"decision": losses.deit_hard(student, teacher)}
        return {"decision": losses.deit_soft(student, teacher, temperature=temperature, reduction=reduction)}

    return Objective(terms, {"decision": weight})


def deit(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    alpha: Any = 0.5,
    kind: Literal["hard", "soft"] = "hard",
    token: Literal["distillation", "class"] = "distillation",
    temperature: Any = 3.0,
    reduction: Literal["batchmean", "numel"] = "batchmean",
    smoothing: Any = 0.1,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """The class token learns from the labels, the distillation token from the teacher.

    `L = (1 - alpha) CE(z_c, y) + alpha L_x`, `L_x` that of `deit_objective` on `z_d`. The shipped `"logits"` are the mean of both
    tokens' (the authors' code; the paper adds the softmaxes). A batch may hold mixed images with their distributions `[B, K]` as
    labels: the teacher sees the same images, and its decision is not smoothed.

    Args:
      student: a transformer with both tokens, such as `models.deit_tiny` or `models.vit(..., distillation=True)`; with
        `token="class"` any net.
      teacher: the frozen net.
      tx: the optimiser of the student.
      alpha: share of the teacher, 0 to 1; the paper's soft kind has 0.1.
      kind: as in `deit_objective`, and so are the next three.
      token: who is asked.
      temperature: of the soft kind.
      reduction: of the soft kind.
      smoothing: probability mass of a label spread over all classes.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the student gives `"logits"`, and of two tokens `"logits_class"` and
      `"logits_distillation"`, the teacher `"logits"`. Its networks are `"student"` and `"teacher"`.

    Reference: Touvron et al., Training data-efficient image transformers & distillation through attention, ICML 2021 (arXiv
    2012.12877).
    """
    check_share(alpha=alpha)
    asked = deit_objective(weight=alpha, kind=kind, token=token, temperature=temperature, reduction=reduction)
    objective = combine(labels_objective(1 - alpha, smoothing=smoothing), asked)
    return one_student(student, tx, objective, teacher=teacher, axis_name=axis_name, micro=micro)
