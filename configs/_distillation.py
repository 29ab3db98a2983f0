"""The experiment of a teacher and its students: what `quickstart` and the CIFAR benchmarks build."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from configs._parts import Config, Experiment, classifier_stage, load_data, method_options, net_specification
from kdjax import data, methods, models
from kdjax.core import Frozen, InputError, check_option, pick
from kdjax.train import Stage
from kdjax.train.fingerprint import of_tree
from kdjax.train.saved import load

METHODS = {"kd": methods.kd}  # what `method=` takes in a variant


def teacher_stage(config: Config, dataset: data.Dataset) -> tuple[Any, dict[str, Stage], Callable]:
    """The teacher: `(net, stages, given)`, trained here, or read from the run folder in `config.teacher`."""
    if config.teacher:
        given = f"--config.teacher={config.teacher}"
        try:
            net, params, stats = load(Path(config.teacher))
        except InputError as error:
            raise InputError(f"{given} is not accepted: {error}") from None
        _check_teacher(given, net, params, stats, dataset)
        frozen = Frozen(params, stats, of_tree((params, stats)))
        return net, {}, lambda results: {"teacher": frozen}
    section = config.teacher_training
    specification = net_specification(section.net, dataset, config.precision)
    net = models.build(specification)
    stage = classifier_stage(
        config, dataset, section, lambda tx, micro: methods.supervised(net, tx, micro=micro),
        nets={"network": specification}, members=1, recipe={"method": "supervised"},
    )  # fmt: skip
    return net, {"teacher": stage}, lambda results: {"teacher": results["teacher"].frozen()}


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
    teacher, stages, given = teacher_stage(config, dataset)
    section = config.student_training
    specification = net_specification(section.net, dataset, config.precision)
    student = models.build(specification)

    labelled, images = student_sources(config, dataset)
    few = {"labels_per_class": config.get("labels_per_class", 0)}

    def stage(recipe, network, make, **more):
        return classifier_stage(
            config, dataset, section, make, nets={network: specification}, members=config.seeds, recipe={**recipe, **few}, **more
        )

    def alone(smoothing):
        recipe = {"method": "supervised", "smoothing": smoothing}
        return stage(
            recipe, "network", lambda tx, micro: methods.supervised(student, tx, smoothing=smoothing, micro=micro),
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
        {"method": name, **options}, "student", lambda tx, micro: make(student, teacher, tx, micro=micro, **options),
        given=given, source=images,
    )  # fmt: skip
    return Experiment(stages, dataset, tuple(compare))


def _check_teacher(given, net, params, stats, dataset):
    images = jax.ShapeDtypeStruct((1, *dataset.shape), jnp.float32)
    try:
        taps = jax.eval_shape(lambda p, s, x: net.apply(p, s, x, train=False)[0], params, stats, images)
    except Exception as error:  # flax reports a shape that does not fit in many ways
        raise InputError(
            f"{given} is not accepted: it does not take images {dataset.shape}: {str(error).splitlines()[0]}"
        ) from error
    if "logits" not in taps:
        raise InputError(f"{given} is not accepted: it holds an encoder without classes")
    if (classes := taps["logits"].shape[-1]) != dataset.classes:
        raise InputError(f"{given} is not accepted: it has {classes} classes, the data has {dataset.classes}")
