"""Hierarchical self-supervised augmented distillation: classifiers of class and rotation behind every stage."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Frozen, InputError, Learner, Method, Net, descent, masked_loss, new_learner, weighted_sum, weights_at
from kdjax.core.arrays import AxisName, Weight
from kdjax.core.start import started
from kdjax.methods.recipes import four_rotations, joint_exits, joint_labels_term
from kdjax.models import attach


class Hsakd(NamedTuple):
    """What learns, with what was given.

    Attributes:
      learner: params and stats are `{"net", "heads"}`, a backbone and its branches; of branches alone, theirs.
      given: the weights that come from outside.
      step: optimisation steps done.
    """

    learner: Learner
    given: dict[str, Frozen]
    step: jax.Array


def hsakd_teacher(
    teacher: Net,
    branches: Net,
    tx: optax.GradientTransformation,
    *,
    joint: bool = False,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Teaches branches behind the stages of a net to tell class and rotation: the stage before `hsakd`.

    `L = sum over branches of CE(q_l, 4 y + j)`, the mean over images in their four rotations j; with `joint` also `CE(z, y)` of the
    upright images.

    Args:
      teacher: the net, in evaluation mode.
      branches: made by `models.branches` for this net.
      tx: the optimiser.
      joint: True trains the net itself too, from scratch and in training mode ("Teacher*"); nothing is given then.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"`, of equal sides, and `"label"`; the net gives `"logits"` and the ends of its stages. Its
      networks are `"branched"`, the net with its branches, and `"teacher"`, where it is given.

    Reference: Yang, An, Cai and Xu, Hierarchical Self-supervised Augmented Knowledge Distillation, IJCAI 2021 (arXiv 2107.13715).
    """
    whole = attach(teacher, branches)

    def look(given, x):
        return teacher.apply(given["teacher"].params, given["teacher"].stats, x, train=False)[0]

    def init(key, batch, given, **start):
        if joint:
            learner = new_learner(key, whole, tx, batch["image"])
            params, stats = started({"branched": (learner.params, learner.stats)}, start)["branched"]
            return Hsakd(Learner(params, stats, tx.init(params)), {}, jnp.int32(0))
        if start:
            raise InputError(f"{', '.join(start)}=... is not accepted: only branches of a frozen teacher are trained")
        given = {"teacher": given["teacher"]}
        shapes = jax.eval_shape(look, given, batch["image"])
        taps = jax.tree.map(lambda tap: jnp.zeros(tap.shape, tap.dtype), shapes)
        return Hsakd(new_learner(key, branches, tx, taps), given, jnp.int32(0))

    def loss(params, state, batch, key):
        images = four_rotations(batch["image"])
        if joint:
            taps, stats = whole.apply(params, state.learner.stats, images, train=True, key=key)
            terms = {"cross_entropy": masked_loss(losses.cross_entropy, taps["logits"][::4], batch)}
        else:
            taps, stats = branches.apply(params, state.learner.stats, look(state.given, images), train=True, key=key)
            terms = {}
        terms["joint_cross_entropy"] = joint_labels_term(taps, batch)
        value, metrics = weighted_sum(terms, {}, micro=micro)
        return value, (stats, metrics)

    def weights(state):
        learner = state.learner
        if joint:
            return {"branched": (learner.params, learner.stats)}
        frozen = state.given["teacher"]
        both = {"net": frozen.params, "heads": learner.params}, {"net": frozen.stats, "heads": learner.stats}
        return {"branched": both, "teacher": (frozen.params, frozen.stats)}

    predict, needs = _predict(weights, branched=whole, teacher=teacher), () if joint else ("teacher",)
    return descent(init, loss, _follow, predict, weights, needs, tx=tx, axis_name=axis_name, micro=micro)


def hsakd(
    student: Net,
    branches: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    branch_weight: Weight = 1.0,
    weight: Weight = 1.0,
    temperature: Any = 3.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """The student's branches imitate the teacher's, stage by stage, on images in all four rotations.

    `L = CE(z_s, y) + sum over branches of KD(q_s, q_t) + KD(z_s, z_t)`: the cross-entropy of the upright images, and
    `KD(a, b) = T^2 KL(softmax(b / T) || softmax(a / T))`, the mean over images in all rotations. The student's branches see no
    labels. What is shipped is the student without them.

    Args:
      student: the net to train; its batch statistics are those of images in all rotations.
      branches: made by `models.branches` for this net.
      teacher: a net with as many branches (`models.branched`), trained by `hsakd_teacher`.
      tx: the optimiser.
      label_weight: factor of the cross-entropy.
      branch_weight: factor of the sum over branches.
      weight: factor of the imitation of the class logits.
      temperature: T, above 0.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"`, of equal sides, and `"label"`; the student gives `"logits"` and the ends of its stages, the
      teacher `"logits"` and `"joint1"`, ... Its networks are `"student"` and `"teacher"`; beside them stand the `"branches"`.

    Reference: Yang, An, Cai and Xu, Hierarchical Self-supervised Augmented Knowledge Distillation, IJCAI 2021 (arXiv 2107.13715).
    """
    whole = attach(student, branches)
    factors = {"cross_entropy": label_weight, "branches": branch_weight, "distillation": weight}

    def init(key, batch, given, **start):
        given, learner = {"teacher": given["teacher"]}, new_learner(key, whole, tx, batch["image"])
        parts = {"student": "net", "branches": "heads"}
        found = started({name: (learner.params[part], learner.stats[part]) for name, part in parts.items()}, start)
        params, stats = ({part: found[name][k] for name, part in parts.items()} for k in (0, 1))
        return Hsakd(Learner(params, stats, tx.init(params)), given, jnp.int32(0))

    def loss(params, state, batch, key):
        frozen, images = state.given["teacher"], four_rotations(batch["image"])
        wanted, _ = teacher.apply(frozen.params, frozen.stats, images, train=False)
        taps, stats = whole.apply(params, state.learner.stats, images, train=True, key=key)
        terms = {
            "cross_entropy": masked_loss(losses.cross_entropy, taps["logits"][::4], batch),
            "branches": losses.hierarchical_distillation(joint_exits(taps), joint_exits(wanted), temperature=temperature),
            "distillation": losses.kl_distillation(taps["logits"], wanted["logits"], temperature=temperature),
        }
        value, metrics = weighted_sum(terms, weights_at(factors, state.step), micro=micro)
        return value, (stats, metrics)

    def weights(state):
        learner, frozen = state.learner, state.given["teacher"]
        own, heads = ((learner.params[part], learner.stats[part]) for part in ("net", "heads"))
        return {"student": own, "teacher": (frozen.params, frozen.stats), "branches": heads}

    predict = _predict(weights, student=student, teacher=teacher)
    return descent(init, loss, _follow, predict, weights, ("teacher",), tx=tx, axis_name=axis_name, micro=micro)


def _follow(state, learner):
    return Hsakd(learner, state.given, state.step + 1), {}


def _predict(weights, **nets):
    def predict(state, inputs):
        found = weights(state)
        return {name: net.apply(*found[name], inputs, train=False)[0] for name, net in nets.items() if name in found}

    return predict
