"""What every offline distillation shares: a frozen teacher, one student, one optimiser."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax.core import Frozen, Learner, Method, Net, learn, new_learner, read_by_name, weigh_labels, weighted_sum


class Offline(NamedTuple):
    """A student that learns from a frozen teacher."""

    student: Learner
    teacher: Frozen
    step: jax.Array


def offline(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    objective: Callable[[dict, dict, dict, jax.Array], Mapping[str, Any]],
    *,
    weights: Mapping[str, Any],
    axis_name: str | None = None,
    micro: int = 1,
) -> Method:
    """Builds an offline method from its objective.

    Args:
      student: the net to train; adapters are part of it (`core.chain`).
      teacher: the frozen net, run in evaluation mode.
      tx: the student's optimiser.
      objective: `(student taps, teacher taps, batch, step) -> {name: term}`, terms as in `core.weighted_sum`.
      weights: factors of the terms by name.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.
    """

    def init(key, batch, given):
        return Offline(new_learner(key, student, tx, batch["image"]), given["teacher"], jnp.int32(0))

    def step(state, batch, key):
        def loss(params, batch):
            taps_t, _ = teacher.apply(state.teacher.params, state.teacher.stats, batch["image"], train=False)
            taps_s, stats = student.apply(params, state.student.stats, batch["image"], train=True, key=key)
            terms = objective(taps_s, taps_t, batch, state.step)
            value, metrics = weighted_sum(terms, weights, micro=micro)
            return value, (stats, metrics)

        learner, metrics = learn(loss, state.student, tx, weigh_labels(batch, axis_name), axis_name=axis_name, micro=micro)
        return Offline(learner, state.teacher, state.step + 1), metrics

    return Method(init, step, *read_by_name(student=student, teacher=teacher), needs=("teacher",))
