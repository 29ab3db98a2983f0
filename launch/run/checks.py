"""Which values the fields of a config take: asked before a run, and shown by --help."""

import inspect
from collections.abc import Callable, Iterator
from shlex import quote
from typing import Any

from kdjax import models
from kdjax.core import InputError, check_option, nearest
from kdjax.data.load import CORRUPT, FORMS, READERS
from kdjax.evaluate.probe import SOLVERS
from kdjax.experiment.data import AUGMENTATIONS
from kdjax.experiment.sections import TIMED, TRICKS, cache_section, data_section, swept
from kdjax.train import HOW
from kdjax.train.devices import PARALLEL
from kdjax.train.optimiser import LARS_VARIANTS, OPTIMISERS
from kdjax.train.teacher_cache.spec import DTYPES

# By the end of a field's path, so that every section of a kind obeys the same rule.
NAMES = {
    "seeds_share": ("batch", "none"),
    "members": HOW,
    "parallel": PARALLEL,
    "data.reader": READERS,
    "data.corrupt": CORRUPT,
    "precision": tuple(models.DTYPES),
    "select": ("last", "best"),
    "teachers_combine": ("ensemble", "separate"),
    "data.augment": tuple(AUGMENTATIONS),
    "cache.dtype": DTYPES,
    "net.name": tuple(models.CLASSIFIERS),
    "optimiser.name": tuple(OPTIMISERS),
    "optimiser.variant": LARS_VARIANTS,
    "probe.solver": SOLVERS,
    "optimiser.schedule": ("constant", "cosine", "steps"),
}


def _whole(least: int) -> tuple[Callable, str]:
    return (lambda v: least <= v < 2**31), f"a whole number, {least} or more"


_SHARE = (lambda v: 0 <= v < 1), "a number, 0 or more and below 1"
_FROM_0 = (lambda v: v >= 0), "a number, 0 or more"
_ABOVE_0 = (lambda v: v > 0), "a number above 0"
_DROPS = (lambda v: list(v) == sorted({x for x in v if 0 < x < 1})), "fractions of the run, above 0 and below 1, ascending"
NUMBERS: dict[str, tuple[Callable, str]] = {
    **dict.fromkeys(
        (
            "seed", "devices", "data.image_size", "data.crop", "data.workers", "data.train_images", "labels_per_class",
            "cache.views", "cache.top", "probe.episodes", "head.predictor_hidden",
        ),
        _whole(0),
    ),
    **dict.fromkeys(
        (
            "seeds", "teachers", "fsdp", "data.batch", "epochs", "micro", "evaluate_epochs", "save_epochs",
            "student_steps_per_epoch",
            "generator.features", "head.hidden", "head.out", "probe.draws", "probe.neighbours",
            "probe.shots", "probe.queries",
        ),
        _whole(1),
    ),
    "probe.per_class": _whole(1),
    "probe.ways": _whole(2),
    "peers": _whole(2),
    "probe.fractions": (
        (lambda v: all(0 < x <= 1 for x in v) and len(set(v)) == len(v)),
        "parts of the labels, above 0 and at most 1, each once, or () for none",
    ),
    **dict.fromkeys(
        ("data.val_fraction", "smoothing", "optimiser.momentum", "optimiser.b1", "optimiser.b2", "optimiser.last_share"), _SHARE
    ),
    **dict.fromkeys(("optimiser.weight_decay", "optimiser.warmup_epochs", "optimiser.clip", "optimiser.vector_rate"), _FROM_0),
    **dict.fromkeys(("optimiser.learning_rate", "optimiser.eta"), _ABOVE_0),
    "first.learning_rate": _FROM_0,
    **dict.fromkeys(("stop.after", "stop.class_entropy", "stop.diversity"), _SHARE),
    "stop.accuracy": _FROM_0,
    "average": _SHARE,
    "baseline_rates": ((lambda v: all(x > 0 for x in v) and len(set(v)) == len(v)), "numbers above 0, each once, or () for none"),
    **dict.fromkeys(("optimiser.drops", "first.drops"), _DROPS),
}  # fmt: skip
WORDS = {  # checked elsewhere
    "data.source": ", ".join(FORMS),
    "teacher": "a run's folder, a .safetensors, .pth, .pt or .bin file, an Orbax checkpoint's folder; several with commas between; "
    "empty: it is trained here",
    "teacher_weights": "a number of at least 0 for each of several teachers, not all 0, or () for equal shares",
    "cache.taps": "names of the teacher's taps",
    "cache.dir": "a folder of teacher outputs, or a new one; empty: in the cache of finished stages",
    "sweep": 'numbers to choose from, as "temperature=2,4,8 learning_rate=0.05,0.1"; empty: none',
    "data.mean": "a number a channel of images in [0, 1], or () to measure it on training images",
    "data.std": "a number above 0 a channel, or () to measure it on training images",
    "teacher_mean": "a number a channel, or () for that of the data",
    "teacher_std": "a number above 0 a channel, or () for that of the data",
    "init": "weights that a network starts from, as of teacher: for the last stage, or <stage>=<run or file> with commas between",
    "init_part": "as teacher_part",
    "teacher_part": "which network of a PyTorch file: a key, a prefix of names, or ema for averaged weights; empty: the plain one",
    "teacher_precision": "bfloat16 or int8, for the teacher's kernels while it teaches; empty: float32",
}
_NEEDED = (
    "seed",
    "seeds",
    "seeds_share",
    "members",
    "parallel",
    "devices",
    "fsdp",
    "precision",
    "select",
)  # of every config, for the launcher itself
_GIVEN = {"schedule", "dtype", "axis_name", "classes"}  # what nets and optimisers get from elsewhere
_KEPT = {"name", *TIMED, *TRICKS}  # of an optimiser's section, beside its own options


_CYCLED = ("weight_decay_range", "clip_range")


def fields(config: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """All fields as `("data.batch", 64)`."""
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from fields(value, f"{above}{name}.")
        else:
            yield above + name, value


def accepted(path: str) -> str:
    """What a field takes, in words; empty where only its type is fixed."""
    names, number = _rule(NAMES, path), _number(path)
    if names:
        return ", ".join(names) if len(names) < 10 else f"one of the {path.split('.')[-2]}s that --list shows"
    return number[1] if number else _rule(WORDS, path) or ""


def check(config: Any, file: str) -> None:
    """Refuses what can be refused from the config alone.

    Raises:
      InputError: one line that names the field, what was given and what is accepted.
    """
    for path in (*_NEEDED, *(f"data.{name}" for name in data_section("", batch=1, val_fraction=0.0))):
        if path not in dict(fields(config)):
            raise InputError(
                f"config file {file!r} has no field {path}: expected those of run_section and data_section in "
                "kdjax/experiment/sections.py"
            )
    for path, value in fields(config):
        names, number = _rule(NAMES, path), _number(path)
        if names and value not in names:
            raise InputError(f"--config.{path}={value!r} is not accepted: expected one of {nearest(str(value), names)}")
        if number:
            check_option(f"--config.{path}", value, *number)
        if path.endswith(".net.name"):
            advice = f"use the variant, --config={quote(f'{file}:<which>={value}')}"
            _check_fit(config, path, models.CLASSIFIERS[value], {"name"}, advice)
        if path.endswith("optimiser.name"):
            _check_fit(config, path, OPTIMISERS[value], _KEPT, f"write that section into a copy of {file}")
        if path.endswith("optimiser.drops") and value and (kind := _section(config, path, 1).schedule) != "steps":
            raise InputError(f"--config.{path}={value} is not accepted with schedule={kind!r}, which has no drops: expected ()")
        if path.endswith("optimiser.last_share") and value and (kind := _section(config, path, 1).schedule) != "cosine":
            raise InputError(f"--config.{path}={value} is not accepted with schedule={kind!r}, which does not end so: expected 0")
        if path.endswith("optimiser.cycle") and value != TRICKS["cycle"] and not _cycles(_section(config, path, 1)):
            without = f"without {' or '.join(_CYCLED)}, which go by it"
            raise InputError(f"--config.{path}={value} is not accepted {without}: expected {TRICKS['cycle']}")
        if path.endswith("micro") and config.data.batch % value:
            raise InputError(f"--config.{path}={value} is not accepted: expected a divisor of data.batch={config.data.batch}")
        if path.endswith("optimiser.warmup_epochs") and value >= (epochs := _section(config, path, 2).get("epochs", float("inf"))):
            raise InputError(f"--config.{path}={value} is not accepted: expected fewer than the {epochs} epochs of its section")
    _check_cache(config.get("cache", {}))
    _check_sweep(config)
    evaluate, save = config.get("evaluate_epochs", 1), config.get("save_epochs", 1)
    if save % evaluate:
        raise InputError(f"--config.save_epochs={save} is not accepted: expected a multiple of --config.evaluate_epochs={evaluate}")


def check_validation(config: Any, dataset: Any) -> None:
    """Refuses choices by validation images where the set has none of its own and none are cut from its training images.

    Raises:
      InputError: one line that names the field.
    """
    if dataset.val is not None:
        return
    if config.select == "best":
        raise InputError("--config.select='best' is not accepted: it needs validation images, --config.data.val_fraction above 0")
    if config.get("baseline_rates"):
        advice = 'without them --config.baseline_rates="()" keeps the learning rate of the student'
        raise InputError(f"--config.data.val_fraction=0 is not accepted: validation images choose among baseline_rates; {advice}")
    if config.get("sweep"):
        raise InputError(
            "--config.data.val_fraction=0 is not accepted: validation images choose among the points of --config.sweep"
        )


def _check_cache(section: Any) -> None:
    """Refuses settings of a cache that is not asked for."""
    for name, default in cache_section().items() if section and not section.views else ():
        if section.get(name, default) != default:
            raise InputError(
                f"--config.cache.{name}={section[name]} is not accepted with --config.cache.views=0: expected 1 view or more"
            )


def _check_sweep(config: Any) -> None:
    """Refuses points that the same fields would refuse."""
    sections = config.get("methods", {"": config.get("method", {})})
    options = {name: value for section in sections.values() for name, value in section.items()}
    for name, values in swept(config.get("sweep", ""), options).items():
        rule = _number("optimiser.learning_rate" if name == "learning_rate" else f"method.{name}")
        for value in values:
            if rule:
                check_option(f"--config.sweep={config.sweep!r}: {name}", value, *rule)


def _number(path: str) -> tuple[Callable, str] | None:
    """The rule of a number; every weight of a loss has the same, and every rate of learning."""
    kinds = {"weight": _FROM_0, "learning_rate": _ABOVE_0} if path.startswith(("method.", "methods.")) else {}
    return _rule(NUMBERS, path) or next((rule for end, rule in kinds.items() if path.endswith(end)), None)


def _rule(rules: dict[str, Any], path: str) -> Any:
    words = path.split(".")
    return next((rules[end] for i in range(len(words)) if (end := ".".join(words[i:])) in rules), None)


def _section(config: Any, path: str, up: int) -> Any:
    """The section that holds a field, or the one `up - 1` above that."""
    for name in path.split(".")[:-up]:
        config = config[name]
    return config


def _cycles(optimiser: Any) -> bool:
    """Whether something of an optimiser goes up and down."""
    return any(optimiser.get(name) for name in _CYCLED)


def _check_fit(config: Any, path: str, builder: Callable, own: set[str], advice: str) -> None:
    """Refuses a name whose function takes other options than its section holds."""
    section = _section(config, path, 1)
    takes = inspect.signature(builder).parameters
    strange = [k for k in section if k not in own and k not in takes]
    missing = [k for k, p in takes.items() if p.default is p.empty and k not in section and k not in _GIVEN]
    if strange or missing:
        what = f"takes no {strange[0]}" if strange else f"needs {missing[0]}"
        raise InputError(f"--config.{path}={section.name!r} is not accepted: it {what}, unlike this section's fields; {advice}")
