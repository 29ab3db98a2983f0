"""Distillation with the reused teacher classifier."""

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net, match_sizes
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import Objective, classifier_of, tap
from kdjax.methods.recipes import student as one_student
from kdjax.models import last_map


def simkd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    weight: Weight = 1.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """The student's last map, through a projector, imitates the teacher's, whose linear layer then classifies it.

    `L = mean (p(f_s) - f_t)^2`, without labels. What is trained and shipped is the student with its projector; the teacher's linear
    layer stands in its stats.

    Args:
      student: made by `models.projected`, with the channels and the size of the teacher's last map.
      teacher: the frozen net.
      tx: the optimiser of the student and its projector.
      weight: factor of the loss.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"`; the teacher gives the end of its last stage. Its networks are `"student"`, with its
      projector, and `"teacher"`.

    Raises:
      InputError: at `init`, where the teacher has no linear layer `classifier`, or the student no place for it.

    Reference: Chen et al., Knowledge Distillation with the Reused Teacher Classifier, CVPR 2022 (arXiv 2203.14001).
    """

    def terms(seen, adapted):
        projected, wanted = match_sizes(tap("student", seen.student, "head"), last_map(seen.teacher))
        return {"projected": losses.hint(projected, wanted)}

    method = one_student(student, tx, Objective(terms, {"projected": weight}), teacher=teacher, axis_name=axis_name, micro=micro)

    def init(key, batch, given, **start):
        state = method.init(key, batch, given, **start)
        own = jax.tree.map(jnp.shape, state.learner.stats["student"].get("then", {}).get("classifier"))
        wanted = jax.tree.map(jnp.shape, classifier_of(given["teacher"].params))
        if own != wanted:
            shape = wanted["kernel"]
            raise InputError(f"simkd needs a student of models.projected with the teacher's channels and classes, {shape}")
        return state

    def classified(state):
        """The State with the teacher's linear layer in the student's stats."""
        stats = state.learner.stats
        then = stats["student"]["then"] | {"classifier": classifier_of(state.given["teacher"].params)}
        return state._replace(learner=state.learner.replace(stats=stats | {"student": stats["student"] | {"then": then}}))

    def predict(state, inputs):
        return method.predict(classified(state), inputs)

    def weights(state):
        return method.weights(classified(state))

    return method._replace(init=init, predict=predict, weights=weights)
