"""What the experiment files share: tables from names to code, and sections of a config."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from kdjax import augment, data, methods, models
from kdjax.core import InputError, check_option, pick
from kdjax.train import Pace, Stage, sweep
from kdjax.train.measures import classification
from kdjax.train.optimiser import OPTIMISERS, schedule
from kdjax.train.saved import load

Config = Any  # a filled ConfigDict, whose fields no type checker can know

METHODS = {"kd": methods.kd}  # offline methods: what `method=` takes in a variant

AUGMENTATIONS: dict[str, Callable[..., Callable]] = {
    "none": lambda: augment.on_images(),
    "affine": lambda: augment.on_images(augment.affine),
    "crop_flip": lambda: augment.on_images(lambda k, x: augment.pad_crop(k, x, padding=4), augment.flip),
}


class Experiment(NamedTuple):
    """What `build(config)` returns.

    Attributes:
      stages: in the order they run.
      dataset: for evaluation and for the records.
      compare: pairs of results `stage/measure`, the second the baseline, whose paired difference over seeds is reported.
    """

    stages: dict[str, Stage]
    dataset: data.Dataset
    compare: tuple[tuple[str, str], ...] = ()


def run_section(*, seeds: int, select: str = "last") -> dict:
    """How a run is done, the same in every config."""
    return {
        "seed": 0,  # member i starts from seed + i
        "seeds": seeds,
        "seeds_share": "batch",  # batch: same order, own initialisation; none: everything differs
        "members": "auto",  # how seeds run: map, vmap
        "parallel": "jit",
        "devices": 0,  # 0: all there are
        "precision": "float32",  # of the computation: float32, bfloat16
        "select": select,  # results at the last or the best (validation) epoch
        "evaluate_epochs": 5,
        "save_epochs": 10,
    }


def data_section(source: str, *, batch: int, val_fraction: float, augmentation: str = "none") -> dict:
    """Where images come from."""
    return {
        "source": source,
        "image_size": 0,  # 0: as they are
        "val_fraction": val_fraction,
        "seed": 0,  # of the validation split and the order
        "batch": batch,
        "augment": augmentation,
    }


def training_section(net: str, *, epochs: int, optimiser: dict, **options: Any) -> dict:
    """One network and how it is trained; of `options`, those that this net takes."""
    takes = inspect.signature(pick("net", net, models.NETS)).parameters
    options = {"widths": (32, 64, 128), "depth": 16, "width": 2, "stem": "cifar"} | options
    options = {k: v for k, v in options.items() if k in takes}
    return {"net": {"name": net, **options}, "epochs": epochs, "micro": 1, "optimiser": optimiser}


def sgd_section(
    rate: float, *, kind: str = "cosine", drops: tuple[float, ...] = (), warmup_epochs: float = 0.0, **options: Any
) -> dict:
    """SGD with momentum and a schedule."""
    options = {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": False} | options
    return _optimiser_section("sgd", rate, kind, drops, warmup_epochs, options)


def adam_section(rate: float, *, kind: str = "cosine", warmup_epochs: float = 0.0, **options: Any) -> dict:
    """Adam, or AdamW where `weight_decay` is not 0, with a schedule."""
    return _optimiser_section("adam", rate, kind, (), warmup_epochs, {"weight_decay": 0.0, "b1": 0.9, "b2": 0.999} | options)


def _optimiser_section(name, rate, kind, drops, warmup_epochs, options):
    return {"name": name, "learning_rate": rate, "schedule": kind, "drops": drops, "warmup_epochs": warmup_epochs, **options}


def method_section(name: str, table: dict[str, Callable], **changed: Any) -> dict:
    """A method's name and its keyword defaults, so that each can be overridden."""
    builder = pick("method", name, table)
    given = {"axis_name", "micro", "steps", "probe"}
    defaults = {
        k: p.default for k, p in inspect.signature(builder).parameters.items() if p.kind is p.KEYWORD_ONLY and k not in given
    }
    return {"name": name, **defaults, **changed}


def variant(text: str, **defaults: str) -> dict[str, str]:
    """Reads `a=b,c=d` behind the colon of `--config=file.py:...`; names without a default are refused."""
    chosen = dict(defaults)
    for part in filter(None, (text or "").split(",")):
        name, equals, value = part.partition("=")
        if not equals or name not in defaults:
            raise InputError(f"variant {part!r} is not known; accepted: {', '.join(f'{n}=<name>' for n in defaults) or 'none'}")
        chosen[name] = value
    return chosen


def load_data(config: Config) -> data.Dataset:
    """The data set a config names; results need labels."""
    section = config.data
    found = data.load(section.source, val_fraction=section.val_fraction, seed=section.seed, image_size=section.image_size or None)
    if found.classes < 2:
        has = "1 class" if found.classes else "no labels"
        raise InputError(f"--config.data.source={section.source} has {has}: expected images of 2 classes or more")
    return found


def net_specification(section: Config, dataset: data.Dataset, precision: str, **more: Any) -> dict:
    """The specification of a net for this data: classes, normalisation by the training images, precision."""
    sample = dataset.train.read(np.arange(min(dataset.train.size, 10_000)))["image"].astype(np.float64) / 255
    mean, std = sample.mean((0, 1, 2)), sample.std((0, 1, 2))
    rounded = {"mean": np.round(mean, 4).tolist(), "std": np.maximum(np.round(std, 4), 1e-3).tolist()}
    return {"classes": dataset.classes, "dtype": precision, **rounded, **more, **_plain(section)}


def make_optimiser(section: Config, steps: int, per_epoch: int, **swept: Any):
    """The optax transformation a section describes, for a run of `steps`."""
    options = _plain(section) | swept
    name, rate = options.pop("name"), options.pop("learning_rate")
    warmup = round(options.pop("warmup_epochs") * per_epoch)
    timed = schedule(options.pop("schedule"), rate, steps=steps, warmup=warmup, drops=options.pop("drops"))
    try:
        return pick("optimiser", name, OPTIMISERS)(timed, **options)
    except TypeError as error:
        raise InputError(f"optimiser {name!r}: {error}; give it its own fields") from None


def per_epoch(config: Config, dataset: data.Dataset) -> int:
    """Steps an epoch; the last partial batch is dropped."""
    if dataset.train.size < config.data.batch:
        raise InputError(
            f"--config.data.batch={config.data.batch} is not accepted: expected 1 to {dataset.train.size}, the training images"
        )
    return dataset.train.size // config.data.batch


def pace(config: Config, steps_an_epoch: int) -> Pace:
    """Blocks of an epoch."""
    return Pace(steps_an_epoch, steps_an_epoch * config.evaluate_epochs, steps_an_epoch * config.save_epochs)


def classifier_stage(
    config: Config,
    dataset: data.Dataset,
    section: Config,
    make: Callable,
    *,
    nets: dict,
    members: int,
    recipe: dict,
    source: data.Source | None = None,
    rates: Sequence[float] = (),
    **more: Any,
) -> Stage:
    """A stage that trains a classifier for a number of epochs of all training images.

    Args:
      config: the whole config.
      dataset: its data.
      section: the network's training section.
      make: `(tx, micro) -> Method`.
      nets: specifications of the networks it trains, by name.
      members: how many side by side.
      recipe: what the method was made from, for the fingerprint.
      source: the rows it learns from, where they are not all; the number of steps stays.
      rates: learning rates to try, every seed with each in one program; validation images choose.
      **more: further fields of `Stage`.
    """
    each = per_epoch(config, dataset)
    steps = section.epochs * each

    def method(**swept):
        return make(make_optimiser(section.optimiser, steps, each, **swept), section.micro)

    if rates:
        check_option("rates", rates, lambda r: min(r) > 0, "numbers above 0")
        swept, hyper = sweep(method, {"learning_rate": rates}, members)
        more |= {"seeds": members, "hyper": hyper, "choose": "accuracy"}
        members *= len(rates)
    return Stage(
        method=swept if rates else method(),
        steps=steps,
        batch=config.data.batch if source is None else min(config.data.batch, source.size),
        pace=pace(config, each),
        recipe={"training": _plain(section), "data": _plain(config.data), "nets": nets, **recipe},
        nets=nets,
        source=source or dataset.train,
        augment=pick("augmentation", config.data.augment, AUGMENTATIONS)(),
        evaluate=classification,
        members=members,
        **more,
    )


def teacher_stage(config: Config, dataset: data.Dataset) -> tuple[Any, dict[str, Stage], Callable]:
    """The teacher: `(net, stages, given)`, trained here, or read from the run folder in `config.teacher`."""
    if config.teacher:
        given = f"--config.teacher={config.teacher}"
        try:
            net, params, stats = load(Path(config.teacher))
        except InputError as error:
            raise InputError(f"{given} is not accepted: {error}") from None
        _check_teacher(given, net, params, stats, dataset)
        from kdjax.core import Frozen
        from kdjax.train.fingerprint import of_tree

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
    return data.keep_labels(dataset.train, per_class, config.data.seed) if per_class else (dataset.train, dataset.train)


def distillation(config: Config) -> Experiment:
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
    import jax

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


def _plain(section: Any) -> Any:
    """A config section as JSON values."""
    if isinstance(section, ConfigDict):
        return {k: _plain(v) for k, v in section.items()}
    return list(section) if isinstance(section, tuple) else section


def method_options(section: Config) -> tuple[str, dict]:
    """A method's name and the options of its builder."""
    options = _plain(section)
    return options.pop("name"), options
