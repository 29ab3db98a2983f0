"""Networks whose weights are averaged over the last part of training, and the experiment of what that gives in fine-tuning."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdjax import methods
from kdjax.augment import masked_tokens, per_image
from kdjax.core import Frozen, InputError, Method, check_option, estimate_statistics
from kdjax.core.averages import Averaged
from kdjax.core.images import inputs_of
from kdjax.core.state import Follower
from kdjax.data import Dataset, few_labels, keep_classes, subset
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, by_accuracy, context_fields
from kdjax.experiment.data import load_data, steps_per_epoch, view
from kdjax.experiment.entry import Entry
from kdjax.experiment.nets import net_specification
from kdjax.experiment.optimiser import make_optimiser
from kdjax.experiment.sections import rates_grid, swept
from kdjax.train import Result, Stage, Swept

_MEASURED = 4096  # images at most that statistics are measured on
BYTES = 256  # the tokens of texts


def averaged_stage(c: ClassifierContext, *, after: float, rate_share: float, **fields: Any) -> dict[str, Stage]:
    """One stage of `methods.swa`: a cosine falls to a share of the rate, which stays constant while weights are averaged.

    Statistics of batch norm are measured anew on training images, without augmentation, wherever the mean is evaluated or saved.

    Args:
      c: with the options `every` and `smoothing` in its settings.
      after: part of the steps behind which averaging starts, from 0 to below 1.
      rate_share: of the rate, above 0.
      **fields: others of `Stage`, and the `grid` of a sweep; else it is that of `config.sweep`.
    """
    check_option("after", after, lambda a: 0 <= a < 1, "a part of the steps, from 0 to below 1")
    start = round(after * c.steps)
    check_option("after", after, lambda _: start < c.steps, f"a start below the {c.steps} steps of the run")

    def make(c: ClassifierContext) -> Method:
        return methods.swa(c.network, then_constant(c, after, rate_share), start=start, **c.options)

    usual: dict[str, Any] = {
        "refresh": _measured_anew(c),
        "refresh_every": c.steps_per_epoch * c.config.evaluate_epochs,
        "grid": swept(c.config.get("sweep", ""), c.settings),
    }
    return ClassifierContext.stage(c, make, **usual | fields)


def then_constant(c: ClassifierContext, after: float, rate_share: float) -> optax.GradientTransformation:
    """The optimiser whose rate falls along a cosine to a share of it, and stays there from a part of the steps on."""
    check_option("rate_share", rate_share, lambda s: 0 < s <= 1, "a share above 0, as a mean of weights that do not move is none")
    section = {**c.training["optimiser"], "drops": (), "schedule": "cosine", "last_share": rate_share}
    if start := round(after * c.steps):
        return make_optimiser(section, start, c.steps_per_epoch)
    rate = section["learning_rate"] * rate_share
    still = {**section, "schedule": "constant", "last_share": 0.0, "warmup_epochs": 0.0, "learning_rate": rate}
    return make_optimiser(still, c.steps, c.steps_per_epoch)


def _measured_anew(c: ClassifierContext) -> Callable:
    """The `refresh` that gives the mean of weights statistics of its own."""
    batch = min(c.config.data.batch, c.source.size)
    rows = np.random.default_rng(c.config.data.seed).permutation(c.source.size)[: _MEASURED // batch * batch or batch]
    rows = np.sort(rows[: len(rows) // batch * batch])
    seen, net = view(c.config.data.crop), replace(c, axis_name=None).network

    @jax.jit
    def measured(params, stats, images, key):
        return estimate_statistics(net, params, stats, images.reshape(-1, batch, *images.shape[1:]), key)

    def refresh(collect, state, step, key):
        if isinstance(state, Swept):
            return state._replace(inner=refresh(collect, state.inner, step, key))
        mean = state.averages[0]
        if not jax.tree.leaves(mean.stats):
            return state
        images = seen(jnp.asarray(c.source.read(rows)["image"]))
        stats = {**mean.stats, "student": measured(mean.params["student"], mean.stats["student"], images, key)}
        return state._replace(averages=(mean.replace(stats=stats),))

    return refresh


def build(config: Config) -> Experiment:
    """A net is fine-tuned on a few labels in four ways, in equally many steps.

    Before that it learns the first classes of images, and is fine-tuned on the others; or, where there is a `config.mask`, it
    learns to tell the hidden bytes of all training texts, without their labels.

    `decayed` has a rate that falls to 0; `constant` one that stays high, its last weights; `swa` the mean of the same path;
    `distilled` is `decayed` that learns from a larger net too, `teacher`, which came the same way. Each of the four has the best of
    `config.rates` by validation images, where there are some.

    Args:
      config: filled.
    """
    whole, text = load_data(config), "mask" in config
    if text != (len(whole.shape) == 1) or whole.train.labels().max() < 0:
        wanted = "texts of one class each" if text else "images of one class each"
        raise InputError(f"--config.data.source={config.data.source} is not accepted: expected {wanted}")
    first, others = (whole._replace(classes=BYTES), whole) if text else _halves(whole, config.source_classes)
    seen = {"augment": per_image(), "view": inputs_of} if text else {}
    on_way = {"intermediate": True, "evaluate": lambda collect, split, final: {}, **seen}
    if text:
        check_option("--config.mask", config.mask, lambda share: 0 < share <= 1, "a share above 0, at most 1")
        on_way["augment"] = masked_tokens(tokens=BYTES, share=config.mask)
    try:
        few = subset(others.train, few_labels(others.train.labels(), config.per_class, config.data.seed))
    except InputError as error:
        why = str(error).removeprefix(f"per_class={config.per_class} is not accepted: ")
        raise InputError(f"--config.per_class={config.per_class} is not accepted: {why}") from None

    def specification(net: Config, dataset: Dataset) -> dict:
        if not text:
            return net_specification(net, dataset, config)
        about = {"classes": dataset.classes, "tokens": BYTES, "pooled": dataset is others, "dtype": config.precision}
        return {"name": "bidirectional_transformer", **about, **plain(net)}

    def context(name: str, dataset: Dataset, section: str, net: str, **changed: Any) -> ClassifierContext:
        steps = steps_per_epoch(config, dataset._replace(train=changed.get("source", dataset.train)))
        own = {"training": plain(config[section]) | {"micro": 1}, "specification": specification(config[net], dataset)}
        return ClassifierContext(name=name, **context_fields(config, dataset, config[section], epoch_steps=steps, **own, **changed))

    rates = rates_grid(config.rates)
    t = context("decayed", others, "tuning", "net", source=few)
    large = context("teacher", others, "tuning", "wider_net", source=few, members=1)
    swa = plain(config.swa)
    part = {name: swa.pop(name) for name in ("after", "rate_share")}
    kd = plain(config.kd)

    def distil(c: ClassifierContext) -> Method:
        return methods.kd(c.network, large.network, c.tx, axis_name=c.axis_name, micro=c.micro, **c.settings)

    def start(stage: str) -> dict[str, Any]:
        return {"warm_start": _started, "warm_start_from": stage, **seen}

    tuned = {**start("source"), "grid": rates}

    def given(results: dict[str, Result]) -> dict[str, Frozen]:
        return {"teacher": results["teacher"].frozen()}

    def constant(c: ClassifierContext) -> Method:
        return methods.supervised(c.network, then_constant(c, **part), axis_name=c.axis_name, micro=c.micro)

    stages = {
        **context("source", first, "learning", "net").stage(**on_way),
        **context("teacher_source", first, "learning", "wider_net", members=1).stage(**on_way),
        **large.stage(**start("teacher_source")),
        **t.stage(**tuned),
        **replace(t, name="constant").stage(constant, **tuned),
        **averaged_stage(replace(t, name="swa", entry=Entry(methods.swa), settings=swa), **part, **tuned),
        **replace(t, name="distilled", method="kd", settings=kd).stage(
            distil, nets={"student": t.specification}, given=given, **tuned
        ),
    }
    pairs = [("swa", "constant"), ("swa", "decayed"), ("swa", "distilled"), ("distilled", "decayed")]
    return Experiment(stages, others, by_accuracy(pairs))


def _halves(whole: Dataset, count: int) -> tuple[Dataset, Dataset]:
    """The set of the first classes, and that of the others."""
    check_option("--config.source_classes", count, lambda n: 2 <= n <= whole.classes - 2, f"2 to {whole.classes - 2}")
    return _classes(whole, 0, count), _classes(whole, count, whole.classes)


def _classes(whole: Dataset, first: int, last: int) -> Dataset:
    """The set of a range of classes."""
    parts = {"train": whole.train, "test": whole.test} | ({} if whole.val is None else {"val": whole.val})
    kept = {name: keep_classes(source, first, last) for name, source in parts.items()}
    digest = hashlib.sha256(f"{whole.digest} classes {first} to {last}".encode()).hexdigest()
    return whole._replace(**kept, classes=last - first, names=whole.names[first:last], digest=digest)


def _started(state: Any, result: Result, member: int) -> Any:
    """A State that starts from the network of another stage, but for its linear layer."""
    found = jax.tree.map(jnp.asarray, result.frozen(member=member))
    inner = state.inner if isinstance(state, Averaged) else state
    learner = inner.learner
    body = {**found.params, "classifier": learner.params["student"]["classifier"]}
    learner = learner.replace(params={**learner.params, "student": body}, stats={**learner.stats, "student": found.stats})
    inner = inner._replace(learner=learner)
    if not isinstance(state, Averaged):
        return inner
    copies = jax.tree.map(jnp.copy, (learner.params, learner.stats))  # what two parts of a State share could not be donated
    return state._replace(inner=inner, averages=(Follower(*copies),))
