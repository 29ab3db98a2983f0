"""What every offline distillation shares: a frozen teacher, one student, one optimiser."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax.core import Frozen, Learner, Method, Net, learn, weigh_labels, weighted_sum
from kdjax.methods.offline._objective import Objective, Seen, add, labels_objective


class Offline(NamedTuple):
    """A student that learns from a frozen teacher.

    Attributes:
      learner: params and stats are `{"student": ..., "adapter": ...}`.
      given: the weights that come from outside.
      step: optimisation steps done.
    """

    learner: Learner
    given: dict[str, Frozen]
    step: jax.Array


def offline(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    objective: Objective,
    *,
    axis_name: str | None = None,
    micro: int = 1,
) -> Method:
    """Builds an offline method from its objective.

    Args:
      student: the net to train.
      teacher: the frozen net, run in evaluation mode; where a batch holds its taps (`"teacher"`) these are taken instead.
      tx: the optimiser of the student and of the objective's adapter.
      objective: what the student is asked for; `add` sums several.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.
    """
    adapter = objective.adapter
    needs = tuple(dict.fromkeys(("teacher", *objective.needs)))

    def look(params, stats, given, batch, key, step, axis_name):
        frozen = given["teacher"]
        if (taps_t := batch.get("teacher")) is None:
            taps_t, _ = teacher.apply(frozen.params, frozen.stats, batch["image"], train=False)
        taps_s, stats = student.apply(params, stats, batch["image"], train=True, key=key)
        return Seen(taps_s, taps_t, given, batch, jax.random.fold_in(key, 1), step, axis_name), stats

    def init(key, batch, given):
        given = {name: given[name] for name in needs}
        params, stats = {"adapter": {}}, {"adapter": {}}
        params["student"], stats["student"] = student.init(key, batch["image"])
        if adapter:
            batch = weigh_labels(batch)
            shapes = jax.eval_shape(
                lambda p, s: look(p, s, given, batch, key, jnp.int32(0), None)[0], params["student"], stats["student"]
            )
            seen = jax.tree.map(_blank, shapes)
            params["adapter"], stats["adapter"] = adapter.init(jax.random.fold_in(key, 1), seen)
        return Offline(Learner(params, stats, tx.init(params)), given, jnp.int32(0))

    def step(state, batch, key):
        def loss(params, batch):
            stats = dict(state.learner.stats)
            seen, stats["student"] = look(params["student"], stats["student"], state.given, batch, key, state.step, axis_name)
            adapted = {}
            if adapter:
                adapted, stats["adapter"] = adapter.apply(params["adapter"], stats["adapter"], seen, train=True, key=seen.key)
            value, metrics = weighted_sum(objective.terms(seen, adapted), objective.weights, micro=micro)
            return value, (stats, metrics)

        learner, metrics = learn(loss, state.learner, tx, weigh_labels(batch, axis_name), axis_name=axis_name, micro=micro)
        return Offline(learner, state.given, state.step + 1), metrics

    def predict(state, inputs):
        sides = {"student": (student, *weights(state)["student"]), "teacher": (teacher, *weights(state)["teacher"])}
        return {name: net.apply(params, stats, inputs, train=False)[0] for name, (net, params, stats) in sides.items()}

    def weights(state):
        learner, frozen = state.learner, state.given["teacher"]
        return {"student": (learner.params["student"], learner.stats["student"]), "teacher": (frozen.params, frozen.stats)}

    return Method(init, step, predict, weights, needs)


def method_of(objective: Callable[..., Objective], *, label_weight: float | None = 1.0) -> Callable[..., Method]:
    """The method of one objective beside the labels: `(student, teacher, tx, *, label_weight, ..., axis_name, micro) -> Method`.

    Args:
      objective: a function of keyword options; the method takes the same ones.
      label_weight: the default weight of the cross-entropy; None: a method without labels, which has no such option.
    """
    own = inspect.signature(objective).parameters.values()
    labels = {} if label_weight is None else {"label_weight": label_weight}

    def method(
        student: Net,
        teacher: Net,
        tx: optax.GradientTransformation,
        *,
        axis_name: str | None = None,
        micro: int = 1,
        **options: Any,
    ) -> Method:
        weights = {name: options.pop(name, default) for name, default in labels.items()}
        parts = [labels_objective(weight) for weight in weights.values()]
        return offline(student, teacher, tx, add(*parts, objective(**options)), axis_name=axis_name, micro=micro)

    first, last = _parameters(method)
    given = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in labels.items()]
    method.__name__ = method.__qualname__ = objective.__name__.removesuffix("_objective")
    method.__module__ = objective.__module__
    method.__doc__ = objective.__doc__
    method.__signature__ = inspect.Signature([*first, *given, *own, *last])  # type: ignore[attr-defined]
    return method


def _parameters(method):
    """The positional parameters of a function, and those named ones that every method has."""
    all_of = list(inspect.signature(method).parameters.values())
    return all_of[:3], [p for p in all_of if p.name in ("axis_name", "micro")]


def _blank(x):
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    return jnp.zeros(x.shape, x.dtype)
