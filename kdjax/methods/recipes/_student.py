"""What all methods share that train one network: its objective, with or without a frozen teacher."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax.core import Frozen, InputError, Learner, Method, Net, descent, weighted_sum, weights_at, with_label_weights
from kdjax.core.arrays import AxisName, Weight
from kdjax.core.images import inputs_of
from kdjax.core.start import started
from kdjax.methods.recipes._objective import Objective, Outputs, combine, labels_objective


class Student(NamedTuple):
    """A network that learns from labels, a frozen teacher, itself or any sum of them.

    Attributes:
      learner: params and stats are `{"student": ..., "adapter": ...}`, and `"heads"` where the objective has some.
      given: the weights that come from outside.
      step: optimisation steps done.
    """

    learner: Learner
    given: dict[str, Frozen]
    step: jax.Array


def student(
    net: Net,
    tx: optax.GradientTransformation,
    objective: Objective,
    *,
    teacher: Net | None = None,
    name: str = "student",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Builds the method of one network from its objective: one step down the gradient of the weighted sum of its terms.

    Logits may have positions, `[B, T, K]` or `[B, H, W, K]`: a term of them is the mean over all positions, that of the labels over
    those with a label. What has no label is still distilled, but for what a column `"where"` of the batch leaves out as padding.

    Args:
      net: the net to train.
      tx: the optimiser of the net and of the objective's adapter.
      objective: what the net is asked for; `combine` sums several.
      teacher: the frozen net behind `given["teacher"]`, run in evaluation mode; where a batch holds its taps (`"teacher"`) these
        are taken instead. None: there is none.
      name: of the trained network in `predict` and `weights`, beside `"teacher"`. The adapter is no network of its own: it has a
        meaning only between these two. Nor are the heads, whose taps `predict` has beside the network's.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.
    """
    adapter, heads, rows = objective.adapter, objective.heads, objective.sees or (lambda batch: batch)
    needs = tuple(dict.fromkeys((*(("teacher",) if teacher else ()), *objective.needs)))

    def see(params, stats, given, batch, key, step, axis_name):
        taught = batch.get("teacher", {}) if teacher else {}
        if teacher and not taught:
            taught, _ = teacher.apply(given["teacher"].params, given["teacher"].stats, inputs_of(batch), train=False)
        stats = dict(stats)
        taps, stats["student"] = net.apply(params["student"], stats["student"], inputs_of(batch), train=True, key=key)
        if heads:
            found, stats["heads"] = heads.apply(params["heads"], stats["heads"], taps, train=True, key=jax.random.fold_in(key, 3))
            taps = {**taps, **found}
        own = jax.random.fold_in(key, 1)
        partner = {}
        if "partner" in batch:  # in training mode, a pass of its own that moves the statistics too
            again = jax.random.fold_in(key, 2)
            partner, stats["student"] = net.apply(params["student"], stats["student"], batch["partner"], train=True, key=again)
        return Outputs(taps, taught, given, batch, own, step, axis_name, params["student"], lax.stop_gradient(partner)), stats

    def init(key, batch, given, **start):
        given = {name: given[name] for name in needs}
        params, stats = {"adapter": {}}, {"adapter": {}}
        batch = rows(batch)
        params["student"], stats["student"] = started({name: net.init(key, inputs_of(batch))}, start)[name]
        if heads:
            passed = lambda p, s: net.apply(p, s, inputs_of(batch), train=True, key=key)[0]  # noqa: E731
            shapes = jax.eval_shape(passed, params["student"], stats["student"])
            params["heads"], stats["heads"] = heads.init(jax.random.fold_in(key, 3), jax.tree.map(_blank, shapes))
        if adapter:
            batch = with_label_weights(batch)
            shapes = jax.eval_shape(lambda p, s: see(p, s, given, batch, key, jnp.int32(0), None)[0], params, stats)
            params["adapter"], stats["adapter"] = adapter.init(jax.random.fold_in(key, 1), jax.tree.map(_blank, shapes))
        return Student(Learner(params, stats, tx.init(params)), given, jnp.int32(0))

    def loss(params, state, batch, key):
        outputs, stats = see(params, state.learner.stats, state.given, batch, key, state.step, axis_name)
        adapted = {}
        if adapter:
            adapted, stats["adapter"] = adapter.apply(params["adapter"], stats["adapter"], outputs, train=True, key=outputs.key)
        terms, here = _terms(objective, outputs, adapted), batch.get("where_weight")
        value, metrics = weighted_sum(terms, weights_at(objective.weights, state.step), micro=micro, where_weight=here)
        return value, (stats, metrics)

    def weighted(state, batch, key):
        return with_label_weights(rows(batch), axis_name)

    def follow(state, learner):
        return Student(learner, state.given, state.step + 1), {}

    nets = {name: net} | ({"teacher": teacher} if teacher else {})

    def predict(state, inputs):
        weighed, learner = weights(state), state.learner
        found = {name: one.apply(*weighed[name], inputs, train=False)[0] for name, one in nets.items()}
        if heads:
            more, _ = heads.apply(learner.params["heads"], learner.stats["heads"], found[name], train=False)
            found[name] = {**found[name], **more}
        return found

    def weights(state):
        found = {name: (state.learner.params["student"], state.learner.stats["student"])}
        return found | ({"teacher": (state.given["teacher"].params, state.given["teacher"].stats)} if teacher else {})

    return descent(init, loss, follow, predict, weights, needs, tx=tx, rows=weighted, axis_name=axis_name, micro=micro)


def _terms(objective: Objective, seen: Outputs, adapted: dict[str, jax.Array]) -> Mapping[str, Any]:
    try:
        return objective.terms(seen, adapted)
    except KeyError as error:
        sides = {"student": seen.student, "teacher": seen.teacher, "batch": seen.batch, "given": seen.given, "adapter": adapted}
        held = (f"{side}: {', '.join(n for n in names if not n.startswith('norm/'))}" for side, names in sides.items() if names)
        raise InputError(f"the objective asks for {error}, which is not there; there are {'; '.join(held)}") from error


one_student = student  # where `student` is a network


def method_of(
    objective: Callable[..., Objective],
    *,
    label_weight: Weight | None = 1.0,
    taught: bool = True,
    columns: Sequence[str] = ("image", "label"),
) -> Callable[..., Method]:
    """The method of one objective beside the labels: `(student, teacher, tx, *, label_weight, ..., axis_name, micro) -> Method`.

    It has the objective as its attribute `objective`.

    Args:
      objective: a function of keyword options; the method takes the same ones.
      label_weight: the default weight of the cross-entropy; None: a method without labels, or with a term of its own for them,
        which has no such option.
      taught: False: there is no teacher, `(network, tx, *, ...) -> Method`.
      columns: those of a batch that it asks for, as its docstring says.
    """
    own = inspect.signature(objective).parameters.values()
    labels = {} if label_weight is None else {"label_weight": label_weight}

    def whole(options: dict[str, Any]) -> Objective:
        if label_weight is None:
            return combine(objective(**options))
        weight = options.pop("label_weight", label_weight)
        return combine(labels_objective(weight, optional=True), objective(**options))

    def beside(
        student: Net,
        teacher: Net,
        tx: optax.GradientTransformation,
        *,
        axis_name: AxisName = None,
        micro: int = 1,
        **options: Any,
    ) -> Method:
        return one_student(student, tx, whole(options), teacher=teacher, axis_name=axis_name, micro=micro)

    def alone(
        network: Net, tx: optax.GradientTransformation, *, axis_name: AxisName = None, micro: int = 1, **options: Any
    ) -> Method:
        return one_student(network, tx, whole(options), name="network", axis_name=axis_name, micro=micro)

    method: Any = beside if taught else alone
    first, last = _parameters(method)
    given = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in labels.items()]
    method.__name__ = method.__qualname__ = objective.__name__.removesuffix("_objective")
    method.__module__ = objective.__module__
    method.__doc__ = _documented(objective, labels, taught, columns)
    method.objective = objective
    method.__signature__ = inspect.Signature([*first, *given, *own, *last])
    return method


_ARGS = {  # of every method
    "student": "the net to train.",
    "teacher": 'the frozen net behind `given["teacher"]`.',
    "network": "the net to train.",
    "tx": "its optimiser, that of layers the objective adds too.",
    "label_weight": "of the cross-entropy with the labels.",
    "axis_name": "mapped axis that holds the batch, or None.",
    "micro": "slices of the batch to accumulate gradients over.",
}


def _documented(objective, labels, taught, columns):
    """The objective's docstring with the arguments that the method has beside, and what it returns."""
    head, _, rest = (inspect.getdoc(objective) or "").partition("\n\nArgs:\n")
    own, _, tail = rest.partition("\n\n")
    names = [*(("student", "teacher", "tx") if taught else ("network", "tx")), *labels]
    first, last = ("\n".join(f"  {name}: {_ARGS[name]}" for name in part) for part in (names, ("axis_name", "micro")))
    quoted = [f'`"{name}"`' for name in columns]
    batches = " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
    logits = 'the tap `"logits"` beside ' if "label" in columns else ""
    returns = f"  A Method of batches of {batches}; {'both nets give' if taught else 'the net gives'} {logits}what is named above."
    nets = '  Its networks are `"student"` and `"teacher"`.' if taught else '  Its network is `"network"`.'
    parts = [head, "\n".join(filter(None, ["Args:", first, own, last])), f"Returns:\n{returns}\n{nets}", tail]
    return "\n\n".join(filter(None, parts))


def _parameters(method):
    """The positional parameters of a function, and those named ones that every method has."""
    all_of = list(inspect.signature(method).parameters.values())
    return [p for p in all_of if p.kind is p.POSITIONAL_OR_KEYWORD], [p for p in all_of if p.name in ("axis_name", "micro")]


def _blank(x):
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    return jnp.zeros(x.shape, x.dtype)
