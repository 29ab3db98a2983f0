"""The experiment of several nets whose features are put together, and taken to another task."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from kdjax import losses, methods, models
from kdjax.core import InputError, Method, Net, check_option, masked_loss, skip_zero_gradients
from kdjax.data import Dataset, Source, few_labels, keep_classes, subset
from kdjax.evaluate.transfer import target_accuracy, transfer
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, context_fields
from kdjax.experiment.data import load_data, seen_shape
from kdjax.experiment.rich_tables import tables
from kdjax.methods import recipes
from kdjax.methods.offline.rich import rich_objective
from kdjax.models.size import parameter_count
from kdjax.train import Result, Stage


def build(config: Config) -> Experiment:
    """Nets of other seeds, a wide one, one that is trained at once with all their parts, one distilled from them; then fine-tuned.

    The first `config.source_classes` classes are the task that all of them learn from, the others one that they have not seen. A
    seed is a group of `config.nets` nets and all that is made of them.

    Args:
      config: filled.
    """
    whole = load_data(config)
    dataset, target = tasks(whole, config.source_classes)
    section = plain(config.transfer)
    _check(config, dataset, target)
    few = few_labels(target["target_train"].labels(), config.tuning.per_class, config.data.seed)
    tuned = subset(target["target_train"], few)
    others = dataset._replace(classes=whole.classes - config.source_classes)
    c = ClassifierContext(name="nets", **context_fields(config, dataset, config.training))
    wide = replace(c, name="wide", specification=c.specification | {"widths": list(config.wide.widths)})
    count, numbers = config.nets, (*(n for n in (1, 2, 4, 8) if n < config.nets), config.nets)
    tuning = {**plain(config.tuning), "micro": 1}
    t = replace(
        c, training=tuning, source=tuned, dataset=others, steps_per_epoch=max(tuned.size // min(config.data.batch, tuned.size), 1),
        specification=c.specification | {"classes": others.classes},
    )  # fmt: skip
    probe, accuracy = transfer(**section), target_accuracy()
    score = {"score": "source_accuracy"}
    stages = {
        **several(c, count, evaluate=transfer(**section, together=numbers), score=f"cat{count}_source_accuracy"),
        **one(wide, wide.specification, evaluate=probe, **score),
        **one(replace(c, name="joint"), _side_by_side(c, count), evaluate=probe, **score),
        **distilled(replace(c, name="distilled", training=plain(config.distilling)), count, config.temperature, probe),
        **several(replace(t, name="tuned"), count, evaluate=target_accuracy(each=True), **_from("nets", _new_heads)),
        **two_stage(replace(t, name="two_stage"), count, config.head, accuracy),
        **one(replace(t, name="cat_tuned"), _side_by_side(t, count), evaluate=accuracy, **_from("nets", _new_head_on_all)),
        **one(replace(t, name="wide_tuned"), t.specification | {"widths": list(config.wide.widths)}, evaluate=accuracy,
              **_from("wide", _new_head)),
    }  # fmt: skip
    sizes = _sizes(c, wide, count, numbers)
    return Experiment(
        stages, dataset, splits=target, tables=lambda measured, lines: tables(measured, sizes, section["per_class"], numbers)
    )


def tasks(whole: Dataset, classes: int) -> tuple[Dataset, dict[str, Source]]:
    """The set of the first classes, and the splits `target_train` and `target_test` (and `target_val`) of the others.

    Args:
      whole: of all classes.
      classes: how many of them come first; 2 are left at least.
    """
    most = whole.classes - 2
    check_option("--config.source_classes", classes, lambda n: 2 <= n <= most, f"2 to {most}, which leaves 2 classes")
    parts = {"train": whole.train, "test": whole.test} | ({} if whole.val is None else {"val": whole.val})
    first = {name: keep_classes(source, 0, classes) for name, source in parts.items()}
    others = {f"target_{name}": keep_classes(source, classes, whole.classes) for name, source in parts.items()}
    digest = hashlib.sha256(f"{whole.digest} classes below {classes}".encode()).hexdigest()
    return whole._replace(**first, classes=classes, names=whole.names[:classes], digest=digest), others


def several(c: ClassifierContext, count: int, **fields: Any) -> dict[str, Stage]:
    """Nets of one specification that learn beside one another, each for itself."""
    specification = {"name": "ensemble", "nets": [c.specification] * count}

    def make(c: ClassifierContext) -> Method:
        def terms(seen, adapted):
            each = {f"cross_entropy{k}": seen.student[f"teacher{k}/logits"] for k in range(count)}
            return {name: masked_loss(losses.cross_entropy, z, seen.batch) for name, z in each.items()}

        objective = recipes.Objective(terms, {f"cross_entropy{k}": 1.0 for k in range(count)}, needs=())
        return recipes.student(c.build(specification), c.tx, objective, name="network", axis_name=c.axis_name, micro=c.micro)

    return c.stage(make, nets={"network": specification}, **fields)


def one(c: ClassifierContext, specification: dict, **fields: Any) -> dict[str, Stage]:
    """A net that learns from labels."""
    return replace(c, specification=specification).stage(**fields)


def distilled(c: ClassifierContext, count: int, temperature: float, measure: Callable) -> dict[str, Stage]:
    """A net that gives by a linear layer each what the nets of its group answer: `methods.offline.rich`."""
    teacher, student = {"name": "ensemble", "nets": [c.specification] * count}, c.specification | {"classes": 0}

    def make(c: ClassifierContext) -> Method:
        objective = taught_within(rich_objective(temperature=temperature), c.build(teacher))
        return recipes.student(c.build(student), c.tx, objective, axis_name=c.axis_name, micro=c.micro)

    def start(state: Any, result: Result, member: int) -> Any:
        stats = state.learner.stats
        adapter = {**stats["adapter"], "teacher": _of(result, member)}
        return state._replace(learner=state.learner.replace(stats={**stats, "adapter": adapter}))

    fields = {"warm_start": start, "warm_start_from": "nets", "evaluate": measure, "score": "source_accuracy"}
    return c.stage(make, nets={"student": student}, **fields)


def taught_within(objective: recipes.Objective, teacher: Net) -> recipes.Objective:
    """An objective whose frozen teacher lies in the State, beside the student: every member has another one.

    Args:
      objective: of a teacher.
      teacher: a Net of images. Its `{"params", "stats"}` are the part `"teacher"` of the adapter's stats; whoever makes the stage
        brings them.
    """
    inner = objective.adapter or Net(lambda key, seen: ({}, {}), lambda params, stats, seen, *, train, key=None: ({}, stats))

    def answers(held, seen):
        taps, _ = teacher.apply(held["params"], held["stats"], seen.batch["image"], train=False)
        return seen.replace(teacher=jax.lax.stop_gradient(taps))

    def init(key, seen):
        params, stats = teacher.init(jax.random.fold_in(key, 0), seen.batch["image"])
        held = {"params": params, "stats": stats}
        params, stats = inner.init(jax.random.fold_in(key, 1), answers(held, seen))
        return params, {"inner": stats, "teacher": held}

    def apply(params, stats, seen, *, train, key=None):
        seen = answers(stats["teacher"], seen)
        found, new = inner.apply(params, stats["inner"], seen, train=train, key=key)
        return {"inner": found, "teacher": seen.teacher}, {**stats, "inner": new}

    def terms(seen, adapted):
        return objective.terms(seen.replace(teacher=adapted["teacher"]), adapted["inner"])

    return recipes.Objective(terms, objective.weights, Net(init, apply), needs=())


def two_stage(c: ClassifierContext, count: int, head: Config, measure: Callable) -> dict[str, Stage]:
    """The nets that were fine-tuned, side by side, under the mean of their heads, which alone learns for a few epochs more."""
    specification = _side_by_side(c, count)
    training = {**c.training, **{k: v for k, v in plain(head).items() if k != "learning_rate"}}
    training["optimiser"] = {**c.training["optimiser"], "learning_rate": head.learning_rate, "schedule": "constant"}
    c = replace(c, training=training)

    def make(c: ClassifierContext) -> Method:
        net = c.build(specification | {"frozen": True})
        return methods.supervised(net, skip_zero_gradients(c.tx), axis_name=c.axis_name, micro=c.micro)

    start = _from("tuned", _mean_head)
    return c.stage(make, nets={"network": specification}, evaluate=measure, **start)


def mean_head(heads: Sequence[Mapping[str, jax.Array]]) -> dict[str, jax.Array]:
    """The linear layer on features in a row that answers with the mean of the logits of a layer on each: `W = [W_1 ... W_n] / n`.

    Args:
      heads: `{"kernel": [D_k, K], "bias": [K]}` each.

    >>> head = {"kernel": jnp.ones((2, 3)), "bias": jnp.array([2.0, 0.0, 0.0])}
    >>> mean_head([head, head])["kernel"].shape, mean_head([head, head])["bias"].tolist()
    ((4, 3), [2.0, 0.0, 0.0])
    """
    kernel = jnp.concatenate([head["kernel"] for head in heads], 0) / len(heads)
    return {"kernel": kernel, "bias": sum(head["bias"] for head in heads) / len(heads)}  # type: ignore[operator]


def _side_by_side(c: ClassifierContext, count: int) -> dict:
    nets = [c.specification | {"classes": 0}] * count
    return {"name": "concatenated", "nets": nets, "classes": c.specification["classes"]}


def _from(stage: str, brought: Callable) -> dict[str, Any]:
    """The fields of a stage that starts from another one: `brought(own params, those that come) -> params`."""

    def start(state: Any, result: Result, member: int) -> Any:
        learner, found = state.learner, _of(result, member)
        params = {**learner.params, "student": brought(learner.params["student"], found["params"])}
        own = learner.stats["student"]
        stats = {"nets": found["stats"], "classifier": own["classifier"]} if "classifier" in own else found["stats"]
        return state._replace(learner=learner.replace(params=params, stats={**learner.stats, "student": stats}))

    return {"warm_start": start, "warm_start_from": stage}


def _of(result: Result, member: int) -> dict[str, Any]:
    """`params` and `stats` of one member's network."""
    return jax.tree.map(lambda x: jnp.asarray(x[member]), result.weights["network"])


def _new_head(own: dict, found: dict) -> dict:
    return {**found, "classifier": own["classifier"]}


def _new_heads(own: tuple, found: tuple) -> tuple:
    return tuple(_new_head(a, b) for a, b in zip(own, found, strict=True))


def _bodies(found: tuple) -> tuple:
    return tuple({name: part for name, part in one.items() if name != "classifier"} for one in found)


def _new_head_on_all(own: dict, found: tuple) -> dict:
    return {**own, "nets": _bodies(found)}


def _mean_head(own: dict, found: tuple) -> dict:
    return {"nets": _bodies(found), "classifier": {"classifier": mean_head([one["classifier"] for one in found])}}


def _sizes(c: ClassifierContext, wide: ClassifierContext, count: int, numbers: Sequence[int]) -> dict[str, int]:
    """The parameters of what gives the features, by the names of the rows."""
    shape = (1, *seen_shape(c.config.data, c.dataset))
    of = lambda specification: parameter_count(models.build(specification | {"classes": 0}), shape)  # noqa: E731
    single = of(c.specification)
    return {f"cat{n}": n * single for n in numbers} | {
        "wide": of(wide.specification), "joint": count * single, "distilled": single,
    }  # fmt: skip


def _check(config: Config, dataset: Dataset, target: Mapping[str, Source]) -> None:
    """Refuses what does not fit the images before anything is trained."""
    check_option("--config.nets", config.nets, lambda n: 2 <= n <= 64, "2 to 64")
    known = target["target_train"].labels()
    for field, sizes in (("transfer.per_class", config.transfer.per_class), ("tuning.per_class", (config.tuning.per_class,))):
        check_option(f"--config.{field}", tuple(sizes), lambda sizes: sizes and min(sizes) >= 2, "2 or more")
        for size in sizes:
            try:
                few_labels(known, size, 0)
            except InputError as error:
                raise InputError(f"--config.{field}: {error}") from None
