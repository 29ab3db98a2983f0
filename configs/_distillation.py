"""The experiment of a teacher and its students: what `quickstart` and the CIFAR benchmarks build."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from configs._parts import Config, Experiment, axis_name, classifier_stage, load_data, method_options, net_specification, seen_shape
from kdjax import data, methods, models
from kdjax.core import Frozen, InputError, Net, check_option, pick
from kdjax.train import Stage
from kdjax.train.teacher import Teacher, read_teacher

METHODS = {"kd": methods.kd}  # what `method=` takes in a variant


class Teaching(NamedTuple):
    """A teacher as `teacher_stage` gives it.

    Attributes:
      net: takes images in [0, 1].
      stages: that train it; none where it comes from outside.
      given: of a student's stage.
      outside: where it comes from, with its sha256; None where it is trained here.
    """

    net: Net
    stages: dict[str, Stage]
    given: Callable[[dict], dict[str, Frozen]]
    outside: Teacher | None = None


def teacher_stage(config: Config, dataset: data.Dataset) -> Teaching:
    """The teacher: trained here, or read from `config.teacher`."""
    section = config.teacher_training
    specification = net_specification(section.net, dataset, config.precision) | _normalisation(config, dataset)
    if config.teacher:
        teacher = _read(config, specification, dataset)
        frozen = teacher.frozen()
        return Teaching(teacher.net, {}, lambda results: {"teacher": frozen}, teacher)
    net = models.build(specification, axis_name=axis_name(config))
    stage = classifier_stage(
        config, dataset, section, partial(methods.supervised, net),
        nets={"network": specification}, members=1, recipe={"method": "supervised"},
    )  # fmt: skip
    return Teaching(net, {"teacher": stage}, lambda results: {"teacher": results["teacher"].frozen()})


def student_sources(config: Config, dataset: data.Dataset) -> tuple[data.Source, data.Source]:
    """What students learn from: `(the labelled images, all images)`, the same where all labels are known."""
    per_class = config.get("labels_per_class", 0)
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

    With `config.labels_per_class` above 0 students know only so many labels: the student alone learns from those images, the
    distilled one from all images, most without a label. All students take the same number of steps.
    """
    name, options = method_options(config.method)
    make = pick("method", name, METHODS)
    dataset = load_data(config)
    teacher, stages, given, outside = teacher_stage(config, dataset)
    section = config.student_training
    specification = net_specification(section.net, dataset, config.precision)
    student = models.build(specification, axis_name=axis_name(config))

    labelled, images = student_sources(config, dataset)
    few = {"labels_per_class": config.get("labels_per_class", 0)}

    def stage(recipe, network, make, **more):
        return classifier_stage(
            config, dataset, section, make, nets={network: specification}, members=config.seeds, recipe={**recipe, **few}, **more
        )

    def alone(smoothing):
        recipe = {"method": "supervised", "smoothing": smoothing}
        return stage(
            recipe, "network", partial(methods.supervised, student, smoothing=smoothing),
            source=labelled, rates=tuple(config.get("baseline_rates", ())),
        )  # fmt: skip

    stages["student_alone"] = alone(0.0)
    compare = [("student/test_accuracy", "student_alone/test_accuracy")]
    if config.get("smoothing", 0.0) > 0:
        stages["student_smoothed"] = alone(config.smoothing)
        compare += [
            ("student/test_accuracy", "student_smoothed/test_accuracy"),
            ("student_smoothed/test_accuracy", "student_alone/test_accuracy"),
        ]
    stages["student"] = stage(
        {"method": name, **options}, "student", partial(make, student, teacher, **options),
        given=given, source=images,
    )  # fmt: skip
    return Experiment(stages, dataset, tuple(compare), outside)


def _normalisation(config, dataset):
    """The mean and standard deviation that a teacher from outside was trained with, where the config has them."""
    channels = dataset.shape[-1]
    given = {"mean": list(config.get("teacher_mean", ())), "std": list(config.get("teacher_std", ()))}
    alike = len(given["mean"]) == len(given["std"]) in (0, channels)
    accepted = f"a number for each of the {channels} channels in teacher_mean and in teacher_std, or () in both"
    check_option("--config.teacher_mean", tuple(given["mean"]), lambda _: alike, accepted)
    check_option("--config.teacher_std", tuple(given["std"]), lambda std: min(std, default=1) > 0, "numbers above 0")
    return given if given["mean"] else {}


def _read(config, specification, dataset):
    given = f"--config.teacher={config.teacher}"
    try:
        teacher = read_teacher(config.teacher, specification, seen_shape(config.data, dataset))
    except InputError as error:
        raise InputError(f"{given} is not accepted: {error}") from None
    _check_teacher(given, teacher, seen_shape(config.data, dataset), dataset.classes)
    if teacher.format in ("run", "kdjax") and config.get("teacher_mean"):
        raise InputError(f"--config.teacher_mean={config.teacher_mean} is not accepted: {config.teacher} has its own; leave it ()")
    return teacher


def _check_teacher(given, teacher, shape, there):
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        taps = jax.eval_shape(lambda p, s, x: teacher.net.apply(p, s, x, train=False)[0], teacher.params, teacher.stats, images)
    except Exception as error:  # flax reports a shape that does not fit in many ways
        raise InputError(f"{given} is not accepted: it does not take images {shape}: {str(error).splitlines()[0]}") from error
    if "logits" not in taps:
        raise InputError(f"{given} is not accepted: it holds an encoder without classes")
    if (classes := taps["logits"].shape[-1]) != there:
        raise InputError(f"{given} is not accepted: it has {classes} classes, the data has {there}")
