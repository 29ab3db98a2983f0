"""The experiment of a teacher and its students: what `quickstart` and the CIFAR benchmarks build."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from configs import _cache, _methods
from configs import _sections as sections
from configs._parts import (
    Config,
    Experiment,
    axis_name,
    classifier_stage,
    given_normalisation,
    load_data,
    method_options,
    net_specification,
    per_epoch,
    seen_shape,
    weak_and_strong,
    with_options,
)
from configs._setting import Setting
from kdjax import data, methods, models
from kdjax.core import Frozen, InputError, Net, check_option
from kdjax.core.given import given_path
from kdjax.evaluate.classifier import classification, classification_together
from kdjax.train import Stage
from kdjax.train.teacher import Teacher, ensemble_of, read_teacher, together


class Teaching(NamedTuple):
    """A teacher as `teacher_stage` gives it.

    Attributes:
      net: takes images in [0, 1].
      stages: that train it; none where it comes from outside.
      given: of a student's stage.
      specification: of the net; of several teachers, of their ensemble.
      outside: where it comes from, with its sha256; None where it is trained here.
      separate: shares of several teachers that each have a loss of their own, else ().
    """

    net: Net
    stages: dict[str, Stage]
    given: Callable[[dict], dict[str, Frozen]]
    specification: dict
    outside: Teacher | None = None
    separate: tuple[float, ...] = ()


def teacher_stage(config: Config, dataset: data.Dataset) -> Teaching:
    """The teacher: trained here, or read from `config.teacher`; or several, as the section `teachers` has them."""
    section = config.teacher_training
    specification = net_specification(section.net, dataset, config) | _teacher_normalisation(config, dataset)
    paths = _paths(config.teacher) if "teachers" in config else [config.teacher] * bool(config.teacher)
    count, shares = _several(config, len(paths))
    separate = shares if count > 1 and config.teachers_combine == "separate" else ()
    if paths:
        read = [_read(config, path, specification, dataset) for path in paths]
        teacher = read[0] if count == 1 else together(read, _ensemble([one.specification for one in read], shares))
        frozen = teacher.frozen()
        return Teaching(teacher.net, {}, lambda results: {"teacher": frozen}, teacher.specification, teacher, separate)
    whole = specification if count == 1 else _ensemble([specification] * count, shares)
    stage = classifier_stage(
        config, dataset, section, partial(methods.supervised, models.build(specification, axis_name=axis_name(config))),
        nets={"network": specification}, members=count, recipe={"method": "supervised"},
        evaluate=classification if count == 1 else classification_together(whole),
    )  # fmt: skip

    def given(results):
        trained = [results["teacher"].frozen(member=k) for k in range(count)]
        return {"teacher": trained[0] if count == 1 else ensemble_of(trained, whole)}

    return Teaching(models.build(whole, axis_name=axis_name(config)), {"teacher": stage}, given, whole, separate=separate)


def _paths(text):
    """The teachers that `config.teacher` names; a comma parts them, where it is not a part of one path."""
    if not text or given_path(text).exists():
        return [text] * bool(text)
    return [path.strip() for path in text.split(",")]


def _several(config, paths):
    """How many teachers there are, and their shares."""
    trained, weights = config.get("teachers", 1), tuple(config.get("teacher_weights", ()))
    if paths and trained > 1:
        advice = "expected 1, as teachers come from outside"
        raise InputError(f"--config.teachers={trained} is not accepted with --config.teacher={config.teacher}: {advice}")
    count = max(paths, trained)
    if weights and count == 1:
        raise InputError(f"--config.teacher_weights={weights} is not accepted with one teacher: expected ()")
    try:
        return count, models.shares(count, weights)
    except InputError as error:
        raise InputError(f"--config.teacher_{error}") from None


def _ensemble(specifications, shares):
    return {"name": "ensemble", "nets": list(specifications), "weights": list(shares)}


def student_sources(config: Config, dataset: data.Dataset) -> tuple[data.Source, data.Source]:
    """What students learn from: `(the labelled images, all images)`, the same where all labels are known."""
    per_class = config.labels_per_class
    check_option("labels_per_class", per_class, lambda n: n >= 0, "0 (all) or more")
    if not per_class:
        return dataset.train, dataset.train
    try:
        return data.keep_labels(dataset.train, per_class, config.data.seed)
    except InputError as error:
        raise InputError(f"--config.labels_per_class={per_class} is not accepted: {error}; 0 keeps all labels") from None


def build(config: Config) -> Experiment:
    """Teacher, student alone, the same with label smoothing (where `config.smoothing` is above 0), distilled student.

    Students without a teacher have their learning rate chosen among `config.baseline_rates` on validation images.

    With `config.sweep` the distilled student has options of its own chosen so.

    With `config.labels_per_class` above 0 students know only so many labels: the student alone learns from those images, the
    distilled one from all images, most without a label. All students take the same number of steps.
    """
    name, options = method_options(config.method)
    dataset = load_data(config)
    teaching = teacher_stage(config, dataset)
    stages, compare = students_alone(config, dataset)
    stages |= student_stages(config, dataset, teaching, "student", name, options)
    compare = [("student/test_accuracy", f"{alone}/test_accuracy") for alone in stages if alone in ALONE] + compare
    return Experiment(teaching.stages | stages, dataset, tuple(compare), teaching.outside)


ALONE = ("student_alone", "student_smoothed")


def students_alone(config: Config, dataset: data.Dataset) -> tuple[dict[str, Stage], list[tuple[str, str]]]:
    """The students without a teacher, and how they compare."""
    section = config.student_training
    specification = net_specification(section.net, dataset, config)
    student = models.build(specification, axis_name=axis_name(config))

    def alone(smoothing):
        return classifier_stage(
            config, dataset, section, partial(methods.supervised, student, smoothing=smoothing), nets={"network": specification},
            members=config.seeds, recipe={"method": "supervised", "smoothing": smoothing, **_few(config)},
            source=student_sources(config, dataset)[0],
            grid={"learning_rate": tuple(config.baseline_rates)} if config.baseline_rates else None,
        )  # fmt: skip

    stages = {"student_alone": alone(0.0)}
    if config.smoothing == 0:
        return stages, []
    stages["student_smoothed"] = alone(config.smoothing)
    return stages, [("student_smoothed/test_accuracy", "student_alone/test_accuracy")]


def student_stages(
    config: Config, dataset: data.Dataset, teaching: Teaching, stage_name: str, method: str, options: dict
) -> dict[str, Stage]:
    """The stages that teach a student by one method, the last one under `stage_name`."""
    section, source = config.student_training, student_sources(config, dataset)[1]

    def stage(make, nets, *, epochs=None, learning_rate=0.0, schedule="", drops=(), members=config.seeds, cached=True, **more):
        changed = {name: x for name, x in (("learning_rate", learning_rate), ("schedule", schedule), ("drops", drops)) if x}
        optimiser = {**section.optimiser, **changed}
        trained = section if epochs is None else ConfigDict({**section, "epochs": epochs, "optimiser": optimiser})
        more = ({} if epochs is None else {"intermediate": True, "evaluate": _nothing}) | more
        views = config.cache.views if "cache" in config else 0
        if views and not cached:
            why = f"{method} asks a teacher about other images than those of a batch, or another teacher"
            raise InputError(f"--config.cache.views={views} is not accepted: {why}; expected 0")
        more |= {"teacher_cache": _teacher_cache(config, dataset, teaching)} if "given" in more else {}
        grid = sections.swept(config.sweep, options) if epochs is None else None
        return classifier_stage(
            config, dataset, trained, make, grid=grid, nets=nets, members=members, source=source,
            recipe={"method": method, "last": epochs is None, "separate": teaching.separate, **options, **_few(config)}, **more,
        )  # fmt: skip

    return _methods.stages(
        method,
        Setting(
            name=stage_name,
            options=options,
            student=net_specification(section.net, dataset, config),
            teacher=teaching.net,
            teacher_net=teaching.specification,
            given=teaching.given,
            separate=teaching.separate,
            source=source,
            dataset=dataset,
            per_epoch=per_epoch(config, dataset),
            epochs=section.epochs,
            shape=seen_shape(config.data, dataset),
            views=weak_and_strong(config.data, dataset),
            build=partial(models.build, axis_name=axis_name(config)),
            stage=stage,
        ),
    )


def _teacher_cache(config, dataset, teaching):
    return _cache.teacher_cache(config, dataset, teaching.net, teaching.specification)


def _few(config):
    return {"labels_per_class": config.labels_per_class}


def _nothing(collect, split, final):
    """What is measured of a network on the way to another."""
    return {}


def _teacher_normalisation(config, dataset):
    """The mean and standard deviation that a teacher from outside was trained with, where the config has them."""
    own = {"mean": config.get("teacher_mean", ()), "std": config.get("teacher_std", ())}
    return given_normalisation(own, "teacher_", dataset)


def _read(config, path, specification, dataset):
    given = f"--config.teacher={path}"
    part, resize = config.get("teacher_part", ""), config.get("teacher_resize", False)
    try:
        teacher = read_teacher(path, specification, seen_shape(config.data, dataset), part=part, resize=resize)
    except InputError as error:
        raise InputError(f"{given} is not accepted: {with_options(str(error), 'teacher')}") from None
    teacher = teacher._replace(told=with_options(teacher.told, "teacher"))
    entry = _methods.METHODS.get(config.get("method", {}).get("name", ""))
    _check_teacher(given, teacher, seen_shape(config.data, dataset), 0 if entry and entry.other_classes else dataset.classes)
    if teacher.format in ("run", "kdjax") and config.get("teacher_mean"):
        raise InputError(f"--config.teacher_mean={config.teacher_mean} is not accepted: {path} has its own; leave it ()")
    return teacher


def _check_teacher(given, teacher, shape, there):
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        taps = jax.eval_shape(lambda p, s, x: teacher.net.apply(p, s, x, train=False)[0], teacher.params, teacher.stats, images)
    except Exception as error:  # flax reports a shape that does not fit in many ways
        raise InputError(f"{given} is not accepted: it does not take images {shape}: {str(error).splitlines()[0]}") from error
    if not there:
        return
    if "logits" not in taps:
        raise InputError(f"{given} is not accepted: it holds an encoder without classes")
    if (classes := taps["logits"].shape[-1]) != there:
        raise InputError(f"{given} is not accepted: it has {classes} classes, the data has {there}")
