"""The experiment of methods that learn invariance to augmentation, held against each other with everything else alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import Method, check_option, norm_rescale, pick
from kdjax.evaluate.measure import all_of
from kdjax.evaluate.tasks import on_task
from kdjax.experiment import representation
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, context_fields
from kdjax.experiment.entry import Entry, Table
from kdjax.experiment.invariance_tables import FLOOR, Arm, tables
from kdjax.experiment.representation import RepresentationContext
from kdjax.experiment.task_stage import task_stage
from kdjax.experiment.tasks import ORIGINAL, Task, check_tasks, read_tasks, splits_of
from kdjax.train import Stage


def build(config: Config, table: Table) -> Experiment:
    """An encoder by each method, optimiser and set of augmentations, probed, and fine-tuned on the task `config.tuning.task`.

    Where there is an optimiser `reference`, encoders of the others are fine-tuned twice: as they are, and with weights as long as
    those that it learnt (`core.norm_rescale`).

    Args:
      config: filled; `optimisers` a section each, `rates` of each to choose from by a probe on validation images, `augmentations`
        what each set changes in the section `views`.
      table: of the methods by name.
    """
    optimisers, reference = plain(config.optimisers), config.reference
    _check(config, optimisers)
    names = [name for name in table if name in config.methods]
    in_turn = sorted(optimisers, key=lambda name: name != reference)
    arms = [Arm(*of) for of in product(names, in_turn, config.augmentations)]

    def entry_of(name: str) -> Entry:
        entry = pick("method", name, table)

        def stages(c: RepresentationContext) -> dict[str, Stage]:
            c = replace(c, entry=entry)
            own = [arm for arm in arms if arm.method == c.name]  # none of the untrained encoder
            each = [encoder_stage(c, arm, optimisers[arm.optimiser], config.rates[arm.optimiser]) for arm in own] or [_stage(c)]
            return {stage: one for found in each for stage, one in found.items()}

        return Entry(entry.method, stages=stages)

    shown = config.copy_and_resolve_references()
    with shown.unlocked():
        shown.encoder_training.optimiser = optimisers[in_turn[0]]  # of the untrained one, at rate 0
    found = representation.build(shown, {name: entry_of(name) for name in names})
    (task,) = read_tasks((config.tuning.task,), found.dataset, config.data, "--config.tuning.task")
    rows = {"train": found.dataset.train, "val": found.dataset.val, "test": found.dataset.test}
    section = {"per_class": 0, "draws": 1, "neighbours": config.probe.neighbours, "episodes": 0}
    check_tasks([task], "--config.probe", {"ways": 2, "shots": 1, "queries": 1, **section})
    probe = on_task(task.name, digest=task.digest, **section)
    stages = {name: stage._replace(evaluate=all_of(stage.evaluate, probe)) for name, stage in found.stages.items()}
    own = {"source": task.train, "training": {**plain(config.tuning), "micro": 1}}
    c = ClassifierContext(name="", **context_fields(config, found.dataset, config.encoder_training, epoch_steps=0, **own))
    stages |= tuning_stage(c, task, FLOOR)
    for arm in arms:
        stages |= tuning_stage(c, task, arm.name)
        if reference not in ("", arm.optimiser):
            stages |= tuning_stage(c, task, arm.name, like=arm._replace(optimiser=reference).name)
    return found._replace(
        stages=stages,
        compare=tuple((f"{arm.name}/test_probe_accuracy", f"{FLOOR}/test_probe_accuracy") for arm in arms),
        splits=splits_of([task]) | {f"{ORIGINAL}/{part}": found for part, found in rows.items() if found is not None},
        tables=lambda measured, lines: tables(measured, arms, reference, task.name, task.title),
    )


def encoder_stage(c: RepresentationContext, arm: Arm, optimiser: Mapping[str, Any], rates: Sequence[float]) -> dict[str, Stage]:
    """The stage of an encoder.

    Args:
      c: of its method.
      arm: which one.
      optimiser: its section.
      rates: learning rates to choose from, by `probe_of_own`; of a single one nothing is chosen.
    """
    config = c.config.copy_and_resolve_references()
    with config.unlocked():
        config.views.update(config.augmentations[arm.views])
    training = {**c.training, "optimiser": {**optimiser, "learning_rate": rates[0]}}
    grid = {"learning_rate": tuple(rates)} if len(rates) > 1 else None
    return _stage(replace(c, name=arm.name, config=config, training=training), grid=grid)


def tuning_stage(c: ClassifierContext, task: Task, encoder: str, *, like: str = "") -> dict[str, Stage]:
    """The stage of an encoder that learns the task from labels, all of its weights and a new linear layer.

    Args:
      c: how it is trained.
      task: which.
      encoder: the stage that it starts from.
      like: the stage whose weights' lengths its own are given first; none: they stay.
    """

    def start(state: Any, results: Any, member: int) -> Any:
        own, *others = (jax.tree.map(lambda x: jnp.array(x[member]), one.weights["encoder"]) for one in results)
        params = norm_rescale(own["params"], others[0]["params"]) if others else own["params"]
        learner = state.learner
        params, stats = ({**part["student"], **new} for part, new in ((learner.params, params), (learner.stats, own["stats"])))
        parts = {"params": {**learner.params, "student": params}, "stats": {**learner.stats, "student": stats}}
        return state._replace(learner=learner.replace(**parts))

    name = f"{encoder}_rescaled" if like else f"{encoder}_tuned"
    fields = {"warm_start": start, "warm_start_from": (encoder, like) if like else (encoder,)}
    return task_stage(replace(c, name=name), task, **fields)


def lengths(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
    """The measure `kernel_length`: the Euclidean length of all kernels of the encoder, as one vector."""
    if not final:
        return {}
    outputs, _ = collect(split, "kernel_length")
    return {"kernel_length": np.asarray(next(iter(outputs.values()))["kernel_length"])[:, 0]}


def probe_of_own(per_class: int, digest: str) -> Callable:
    """Makes the measure `original_probe_accuracy` (and kNN's), that of the end at any time: rates are chosen by it.

    Args:
      per_class: labels a class.
      digest: of the images.
    """
    measure = on_task(ORIGINAL, per_class=per_class, draws=3, grid=(0.01, 0.1, 1.0), episodes=0, digest=digest)
    return lambda collect, split, final: measure(collect, split, True)


def _with_length(make: Callable | None) -> Callable:
    """A `make` whose method's first network has a tap more, the length of its kernels, the same for each row."""

    def made(c: RepresentationContext) -> tuple[Method, Callable]:
        assert make is not None
        method, augmentation = make(c)

        def predict(state: Any, inputs: Any) -> dict[str, dict[str, jax.Array]]:
            outputs = method.predict(state, inputs)
            name, taps = next(iter(outputs.items()))
            params, _ = method.weights(state)[name]
            squares = sum(jnp.sum(w.astype(jnp.float32) ** 2) for w in jax.tree.leaves(params) if w.ndim > 1)
            length = jnp.full(taps["pooled"].shape[0], jnp.sqrt(squares))
            return {**outputs, name: {**taps, "kernel_length": length}}

        return method._replace(predict=predict), augmentation

    return made


def _stage(c: RepresentationContext, **fields: Any) -> dict[str, Stage]:
    """That of the encoder; what chooses its rate is measured on the way."""
    made = c.stage(_with_length(c.entry.make), score=f"{ORIGINAL}_probe_accuracy", **fields)
    own = probe_of_own(c.config.probe.per_class, c.dataset.digest)
    return {name: one._replace(evaluate=all_of(one.evaluate, lengths, own)) for name, one in made.items()}


def _check(config: Config, optimisers: Mapping[str, Any]) -> None:
    for field, names in (("optimisers", optimisers), ("augmentations", config.augmentations)):
        check_option(f"--config.{field}", tuple(names), bool, "one or more")
    check_option(
        "--config.reference", config.reference, lambda r: r in ("", *optimisers), f"{' or '.join(optimisers)}, or '' for none"
    )
    few = config.probe.per_class
    check_option("--config.probe.per_class", few, lambda n: n >= 2, "2 or more, by which C of the probe is chosen")
    for name in optimisers:
        rates = tuple(config.rates[name])
        check_option(f"--config.rates.{name}", rates, lambda rates: rates and min(rates) > 0, "one number or more, above 0")
