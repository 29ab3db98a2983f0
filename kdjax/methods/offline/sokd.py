"""Semi-online distillation: a student beside a last stage that the frozen teacher is given anew."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_option, check_positive, masked_loss
from kdjax.core.arrays import AxisName, Weight
from kdjax.core.images import inputs_of
from kdjax.methods.recipes import Objective
from kdjax.methods.recipes import student as one_student
from kdjax.models import attach


def sokd(
    student: Net,
    teacher: Net,
    bridge: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    bridge_label_weight: Weight = 1.0,
    bridge_teacher_weight: Weight = 1.0,
    bridge_student_weight: Weight = 1.0,
    temperature: float = 4.0,
    teacher_norm: Literal["eval", "train"] = "eval",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """The student learns from a fresh copy of the teacher's last stage, which learns beside it on the frozen stages below.

    With `KD(a, b) = T^2 KL(softmax(b / T) || softmax(a / T))`, no gradient into b, the student's loss is `label_weight CE(z_s, y) +
    weight KD(z_s, z_b)` and that of the bridge `bridge_label_weight CE(z_b, y) + bridge_teacher_weight KD(z_b, z_t) +
    bridge_student_weight KD(z_b, z_s)`. The student never sees the teacher's own answers. One step goes down the sum of both.

    The network `"bridge"` is the teacher with that last stage in place of its own.

    Args:
      student: the net to train.
      teacher: the frozen net behind `given["teacher"]`.
      bridge: made by `models.bridge` for the teacher.
      tx: the optimiser of the student and the bridge.
      label_weight: of the student's cross-entropy.
      weight: of what the student takes from the bridge.
      bridge_label_weight: of the bridge's cross-entropy.
      bridge_teacher_weight: of what the bridge takes from the teacher.
      bridge_student_weight: of what it takes from the student.
      temperature: T, above 0.
      teacher_norm: `"eval"`: the teacher's batch norm has its running statistics; `"train"`, as in the authors' code: those of the
        batch, and the running ones, with which `"bridge"` is evaluated, go on, while its weights stay.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; both nets give `"logits"`, the teacher the ends of its stages. Its networks
      are `"student"`, `"teacher"` and `"bridge"`.

    Reference: Liu, Liu and Huang, Semi-Online Knowledge Distillation, BMVC 2021 (arXiv 2111.11747). The paper's extension to
    features is not here: neither which features nor which weights it has was at hand.
    """
    check_positive(temperature=temperature)
    check_option("teacher_norm", teacher_norm, lambda word: word in ("eval", "train"), "'eval' or 'train'")
    moves, whole = teacher_norm == "train", attach(teacher, bridge)

    def begin(key, seen):
        params, stats = bridge.init(key, seen.teacher)
        return params, {"bridge": stats} | ({"teacher": seen.given["teacher"].stats} if moves else {})

    def running(step, frozen, kept):
        """The teacher's statistics, which go on from its own: a run hides the values of these from `init`."""
        return jax.tree.map(lambda own, moved: jnp.where(step > 0, moved, own), frozen.stats, kept["teacher"])

    def pass_by(params, stats, seen, *, train, key=None):
        taps, new = seen.teacher, {}
        if moves:
            frozen = seen.given["teacher"]
            held = running(seen.step, frozen, stats)
            taps, new["teacher"] = teacher.apply(frozen.params, held, inputs_of(seen.batch), train=True, key=key)
        found, new["bridge"] = bridge.apply(params, stats["bridge"], taps, train=train, key=key)
        return {**found, "taught": taps["logits"]}, new

    def imitates(own, other):
        return losses.kl_distillation(own, other, temperature=temperature)

    def terms(seen, adapted):
        own, passed = seen.student["logits"], adapted["logits"]
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, own, seen.batch),
            "distillation": imitates(own, passed),
            "bridge_cross_entropy": masked_loss(losses.cross_entropy, passed, seen.batch),
            "bridge_distillation": imitates(passed, adapted["taught"]),
            "bridge_imitation": imitates(passed, own),
        }

    weights = {
        "cross_entropy": label_weight, "distillation": weight, "bridge_cross_entropy": bridge_label_weight,
        "bridge_distillation": bridge_teacher_weight, "bridge_imitation": bridge_student_weight,
    }  # fmt: skip
    objective = Objective(terms, weights, Net(begin, pass_by))
    method = one_student(student, tx, objective, teacher=teacher, axis_name=axis_name, micro=micro)

    def weights_of(state):
        frozen, kept = state.given["teacher"], state.learner.stats["adapter"]
        params = {"net": frozen.params, "heads": state.learner.params["adapter"]}
        net = running(state.step, frozen, kept) if moves else frozen.stats
        return method.weights(state) | {"bridge": (params, {"net": net, "heads": kept["bridge"]})}

    def predict(state, inputs):
        taps, _ = whole.apply(*weights_of(state)["bridge"], inputs, train=False)
        return method.predict(state, inputs) | {"bridge": taps}

    return method._replace(predict=predict, weights=weights_of)
