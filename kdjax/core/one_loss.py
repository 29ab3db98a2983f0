"""Methods whose step is one optimiser step down one loss, which other trainers may take in their own way."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError
from kdjax.core.collectives import pmean
from kdjax.core.gradients import learn
from kdjax.core.method import Method
from kdjax.core.state import Learner, learners_of
from kdjax.core.terms import with_label_weights
from kdjax.core.updates import check_optimiser


def descent(
    init: Callable[..., Any],
    loss: Callable[..., tuple[jax.Array, Any]],
    follow: Callable[[Any, Learner], tuple[Any, dict]],
    predict: Callable[..., dict[str, dict]],
    weights: Callable[[Any], dict[str, tuple[Any, Any]]],
    needs: tuple[str, ...] = (),
    *,
    tx: optax.GradientTransformation,
    rows: Callable[[Any, Any, jax.Array], Any] | None = None,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """The Method of one loss: its step goes down it by `tx`; its `loss` and `update` leave the optimiser to others.

    Args:
      init: as in `Method`; its State holds one `Learner`.
      loss: `(params, state, rows, key) -> (scalar, (stats, metrics))`, a mean over these rows.
      follow: `(state, learner) -> (State, metrics)`, what is done behind the optimiser: the learner, whose `stats` are those of the
        loss, finds its place, followers move, `step` counts up.
      predict: as in `Method`.
      weights: as in `Method`.
      needs: as in `Method`.
      tx: the optimiser.
      rows: `(state, batch, key) -> ` what the loss sees, arrays with one leading axis; None: the batch, with the weights of its
        labels.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate over in `step`.
    """
    check_optimiser(tx)

    def rows_of(state, batch, key):
        return with_label_weights(batch, axis_name) if rows is None else rows(state, batch, key)

    def step(state, batch, key):
        seen = rows_of(state, batch, key)
        whole = lambda params, seen: loss(params, state, seen, key)  # noqa: E731
        learner, metrics = learn(whole, learner_of(state), tx, seen, axis_name=axis_name, micro=micro)
        state, more = follow(state, learner)
        return state, {**metrics, **more}

    def loss_of(params, state, batch, key):
        return pmean(loss(params, state, rows_of(state, batch, key), key), axis_name)

    def update(state, params, kept):
        return follow(state, learner_of(state).replace(params=params, stats=kept))[0]

    return Method(init, step, predict, weights, needs, loss_of, update)


def learner_of(state: Any) -> Learner:
    """The one `Learner` of a State: `learner_of(state).params` are those that `Method.loss` is differentiated by.

    Raises:
      InputError: where there are several, or none.
    """
    found = learners_of(state)
    if len(found) != 1:
        raise InputError(f"this State has {len(found)} learners: expected that of a method which trains by one loss")
    return found[0]
