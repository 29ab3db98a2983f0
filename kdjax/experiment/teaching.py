"""The teacher of an experiment: trained here, or read from elsewhere; one, or several."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax import data, models
from kdjax.core import Frozen, InputError, Net, check_option
from kdjax.core.paths import user_path
from kdjax.evaluate.classifier import classification, classification_together, with_quantised
from kdjax.experiment.classifier import ClassifierContext, supervised
from kdjax.experiment.config import Config
from kdjax.experiment.context import context_fields
from kdjax.experiment.data import seen_shape
from kdjax.experiment.nets import given_normalisation, net_specification
from kdjax.experiment.start import with_options
from kdjax.models.quantised import megabytes, quantise, quantised
from kdjax.train import Stage
from kdjax.train.teacher import Teacher, beside_quantised, ensemble_of, quantised_teacher, read_teacher, together

_AS_IS = "'' for float32"


class Teaching(NamedTuple):
    """A teacher as `teacher_of` gives it.

    Attributes:
      net: takes images in [0, 1].
      stages: that train it; none where it comes from outside.
      given: of a student's stage.
      specification: of the net; of several teachers, of their ensemble.
      outside: where it comes from, with its sha256; None where it is trained here.
      separate: shares of several teachers that each have a loss of their own, else ().
      classes: how many each teacher from outside tells apart, by its path; 0: it is an encoder.
      precision: that its kernels are kept in, which the specification does not say.
    """

    net: Net
    stages: dict[str, Stage]
    given: Callable[[dict], dict[str, Frozen]]
    specification: dict
    outside: Teacher | None = None
    separate: tuple[float, ...] = ()
    classes: tuple[tuple[str, int], ...] = ()
    precision: str = "float32"

    @property
    def normalisation(self) -> dict[str, list[float]]:
        """The mean and standard deviation that images are normalised with; those of the first of several; empty for none."""
        first = self.specification.get("nets", [self.specification])[0]
        return {name: first[name] for name in ("mean", "std") if name in first}

    def check_classes(self, there: int) -> None:
        """Refuses a teacher from outside that tells other classes apart than the data has."""
        for path, classes in self.classes:
            if not classes:
                raise InputError(f"--config.teacher={path} is not accepted: it holds an encoder without classes")
            if classes != there:
                raise InputError(f"--config.teacher={path} is not accepted: it has {classes} classes, the data has {there}")

    def check_float32(self, what: str) -> None:
        """Refuses a teacher with quantised kernels, for what takes its weights apart or trains them."""
        check_option("--config.teacher_precision", self.precision, lambda p: p == "float32", f"{_AS_IS}, with {what}")


_MOST = 256  # teachers, each of which is traced into every step


def teacher_of(config: Config, dataset: data.Dataset, *, sees_images: bool = True) -> Teaching:
    """The teacher: trained here, or read from `config.teacher`; or several, as the section `teachers` has them.

    Args:
      config: filled.
      dataset: the data.
      sees_images: whether training images may tell what a teacher from outside, of a file that does not say it, normalises with.
    """
    section = config.teacher_training
    own = {"mean": config.get("teacher_mean", ()), "std": config.get("teacher_std", ())}
    unknown = {} if config.teacher and not sees_images else None
    specification = net_specification(section.net, dataset, config, normalised=unknown)
    specification |= given_normalisation(own, "teacher_", dataset)
    paths = _paths(config.teacher) if "teachers" in config else [config.teacher] * bool(config.teacher)
    count, shares = _several(config, len(paths))
    precision = config.get("teacher_precision", "")
    check_option(
        "--config.teacher_precision", precision, lambda p: p in ("", "bfloat16", "int8"), f"'bfloat16', 'int8' or {_AS_IS}"
    )
    precision = precision or "float32"
    separate = shares if count > 1 and config.teachers_combine == "separate" else ()
    if paths:
        read = [_read(config, path, specification, dataset) for path in paths]
        classes = tuple((path, found) for path, (_, found) in zip(paths, read, strict=True))
        teachers = [teacher for teacher, _ in read]
        teacher = teachers[0] if count == 1 else together(teachers, _ensemble([one.specification for one in teachers], shares))
        teacher = teacher._replace(precision=precision)
        frozen, net = teacher.frozen(), quantised(teacher.net, precision)
        return Teaching(net, {}, lambda _: {"teacher": frozen}, teacher.specification, teacher, separate, classes, precision)
    whole = specification if count == 1 else _ensemble([specification] * count, shares)
    c = ClassifierContext(name="teacher", **context_fields(config, dataset, section, specification=specification, members=count))

    def given(results):
        trained = [results["teacher"].frozen(member=k) for k in range(count)]
        return {"teacher": quantised_teacher(trained[0] if count == 1 else ensemble_of(trained, whole), precision)}

    evaluate = classification if count == 1 else classification_together(whole)
    stages = c.stage(evaluate=evaluate) if precision == "float32" else _measured_quantised(c, evaluate, precision)
    return Teaching(quantised(c.build(whole), precision), stages, given, whole, separate=separate, precision=precision)


def _measured_quantised(c, evaluate, precision):
    """The stage of a teacher, which also tells what its answers and bytes are once its kernels are quantised."""

    def make(c):
        method = supervised(c)
        return method._replace(predict=beside_quantised(method.predict, method.weights, c.network, precision))

    images = jax.ShapeDtypeStruct((1, *seen_shape(c.config.data, c.dataset)), jnp.float32)
    params, _ = jax.eval_shape(c.network.init, jax.random.key(0), images)
    fewer = jax.eval_shape(lambda params: quantise(params, precision), params)
    sizes = {"megabytes": megabytes(params), f"{precision}_megabytes": megabytes(fewer)}
    return c.stage(make, evaluate=with_quantised(evaluate, precision, sizes))


def _paths(text):
    """The teachers that `config.teacher` names; a comma parts them, where it is not a part of one path."""
    if not text or user_path(text).exists():
        return [text] * bool(text)
    return [path.strip() for path in text.split(",")]


def _several(config, paths):
    """How many teachers there are, and their shares."""
    trained, weights = config.get("teachers", 1), tuple(config.get("teacher_weights", ()))
    if paths and trained > 1:
        advice = "expected 1, as teachers come from outside"
        raise InputError(f"--config.teachers={trained} is not accepted with --config.teacher={config.teacher}: {advice}")
    check_option("--config.teachers", trained, lambda n: n <= _MOST, f"at most {_MOST}, as each is asked in every step")
    count = max(paths, trained)
    if count == 1:
        if weights:
            raise InputError(f"--config.teacher_weights={weights} is not accepted with one teacher: expected ()")
        return 1, ()
    try:
        return count, models.normalised_weights(count, weights)
    except InputError as error:
        raise InputError(f"--config.teacher_{error}") from None


def _ensemble(specifications, shares):
    return {"name": "ensemble", "nets": list(specifications), "weights": list(shares)}


def _read(config, path, specification, dataset):
    """A teacher from outside, and how many classes it tells apart."""
    given, shape = f"--config.teacher={path}", seen_shape(config.data, dataset)
    part, resize = config.get("teacher_part", ""), config.get("teacher_resize", False)
    try:
        teacher = read_teacher(path, specification, shape, part=part, resize=resize)
    except InputError as error:
        raise InputError(f"{given} is not accepted: {with_options(str(error), 'teacher')}") from None
    teacher = teacher._replace(told=with_options(teacher.told, "teacher"))
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        taps = jax.eval_shape(lambda p, s, x: teacher.net.apply(p, s, x, train=False)[0], teacher.params, teacher.stats, images)
    except Exception as error:  # flax reports a shape that does not fit in many ways
        raise InputError(f"{given} is not accepted: it does not take images {shape}: {str(error).splitlines()[0]}") from error
    if teacher.format in ("run", "kdjax") and config.get("teacher_mean"):
        raise InputError(f"--config.teacher_mean={config.teacher_mean} is not accepted: {path} has its own; leave it ()")
    if teacher.format not in ("run", "kdjax") and "mean" not in teacher.specification:
        wanted = "expected a number a channel, as no training image is read here; 0.0 with teacher_std=1.0 for none"
        raise InputError(f"--config.teacher_mean=() is not accepted: {path} does not say how it normalises images; {wanted}")
    return teacher, taps["logits"].shape[-1] if "logits" in taps else 0
