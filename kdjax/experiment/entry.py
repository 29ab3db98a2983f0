"""An entry of a table of methods, and the section of a config that it gives."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kdjax.core import InputError, check_option, pick
from kdjax.experiment.words import WORDS, parted
from kdjax.methods.recipes import Objective

# Options that an experiment knows by itself: no config shows them, and whichever of them a method takes it is given.
KNOWN = (
    "axis_name", "classes", "epochs", "exits", "labels", "mean", "micro", "numbers", "objective", "probe", "pyramid", "shape",
    "std", "steps", "steps_per_epoch",
)  # fmt: skip

# Of a first stage; a learning rate of 0, no schedule and no drops are those of the student.
PACE = {"epochs": 30, "learning_rate": 0.0, "schedule": "", "drops": ()}


class Entry(NamedTuple):
    """A method as an experiment takes it. Its functions see a `Context`.

    Attributes:
      method: the builder, whose keyword defaults the config shows.
      make: `c -> Method`, or `c -> (Method, augmentation)` where it sees other views: which networks and heads it takes. None: as
        its family does.
      stages: `(c, *, options) -> {name: Stage}`, made by `c.stage`, where it has stages before, another network or other images.
        The config shows its options too. None: one stage.
      objective: what it adds to a sum, as in `crd+kd`; None: that of the method, where it is one stage of an objective alone.
    """

    method: Callable[..., Any]
    make: Callable[..., Any] | None = None
    stages: Callable[..., dict] | None = None
    objective: Callable[..., Objective] | None = None


Table = Mapping[str, Entry]


def keyword_defaults(builder: Callable | None) -> dict:
    """The options of a builder that a config shows, with their defaults."""
    found = inspect.signature(builder).parameters.values() if builder else ()
    return {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY and p.default is not p.empty and p.name not in KNOWN}


def options_taken(entry: Entry) -> set[str]:
    """The names of all that an entry's builders are given."""
    return {name for builder in (entry.method, entry.objective) if builder for name in inspect.signature(builder).parameters}


def first_stage(builder: Callable, **changed: Any) -> dict:
    """The options of a stage before the last one, as `method.first` shows them: how it is trained, and its builder's own."""
    return {**PACE, **keyword_defaults(builder), **changed}


def method_section(name: str, table: Table, *, first: Mapping[str, Any] = {}, **changed: Any) -> dict:
    """A method's name and its options with their defaults, so that each can be overridden.

    A sum, `crd+kd`, has the options of each part under its name, and weighs the labels and `kd` by 1. Words that change images,
    `kd+cutmix`, have theirs under their names too.

    Args:
      name: of a method, or a sum.
      table: the methods by name.
      first: other defaults of the options of a first stage.
      **changed: other defaults of the options of the method.
    """
    method, words = parted(name)
    if words:
        asked = method or "supervised"  # a word alone changes what the labels teach
        check_option(
            "method", name, lambda _: method or asked in table, f"a method beside it, as in {next(iter(table))}+{words[0]}"
        )
        section = method_section(asked, table, first=first, **changed)
        return {**section, "name": name, **{word: keyword_defaults(WORDS[word]) for word in words}}
    if "+" not in name:
        entry = pick("method", name, table)
        shown = {"name": name, **keyword_defaults(entry.method), **keyword_defaults(entry.stages), **changed}
        return shown | ({"first": {**shown["first"], **first}} if "first" in shown else {})
    parts = name.split("+")
    check_option("method", name, lambda _: len(set(parts)) == len(parts), "each part of a sum once")
    sections = {part: keyword_defaults(objective_of(part, table)) | ({"weight": 1.0} if part == "kd" else {}) for part in parts}
    return {"name": name, "label_weight": 1.0, **sections, **changed}


def methods_section(
    names: tuple[str, ...], table: Table, *, share: float = 1.0, options: Mapping[str, Mapping[str, Any]] = {}, **changed: Any
) -> dict[str, dict]:
    """The sections of several methods by name.

    Args:
      names: of methods, or sums of them.
      table: the methods by name.
      share: spans of epochs (warm-ups, first stages) are multiplied by it, and last one epoch at least.
      options: other defaults of the options of a method, by its name.
      **changed: other defaults of options by name, where a method has them.

    Raises:
      InputError: for a name that is not known, or one that comes twice.
    """
    check_option("methods", names, lambda _: len(set(names)) == len(names), "every method once")

    def fitted(section):
        return {k: fitted(v) if isinstance(v, dict) else value(k, v) for k, v in section.items()}

    def value(name, default):
        span = name in ("warmup_epochs", "epochs") and default > 0
        return max(1, round(default * share)) if span else changed.get(name, default)

    return {name: fitted(method_section(name, table, **options.get(name, {}))) for name in names}


def check_accumulation(entry: Entry, section: str, micro: int) -> None:
    """Refuses to slice a batch for a method that does not accumulate gradients.

    Args:
      entry: of the method.
      section: of the config, that has `micro`.
      micro: slices of a batch.
    """
    if "micro" not in inspect.signature(entry.method).parameters:
        what = "1: this method does not accumulate gradients"
        check_option(f"--config.{section}.micro", micro, lambda n: n == 1, what)


def objective_of(name: str, table: Table) -> Callable[..., Objective]:
    """The objective that a method adds to a sum.

    Raises:
      InputError: for a method that is no sum of terms, or not known.
    """
    if found := _objective(pick("method", name, table)):
        return found
    wanted = ", ".join(name for name, entry in table.items() if _objective(entry))
    raise InputError(f"method {name!r} cannot be a part of a sum, nor a loss for each teacher; those that can: {wanted or 'none'}")


def objectives_of(
    names: str, options: Mapping[str, Any], table: Table, known: Callable[[Callable], Mapping[str, Any]]
) -> list[Objective]:
    """The objectives of a method or a sum of some, each with its options.

    Args:
      names: `"dkd"`, or a sum, `"at+dkd"`.
      options: of the one; of a sum, those of each part under its name.
      table: the methods by name.
      known: `objective -> ` the options that no config shows.

    Raises:
      InputError: as `objective_of`.
    """
    parts = names.split("+")
    own = options if len(parts) > 1 else {names: options}
    makers = {part: objective_of(part, table) for part in parts}
    return [make(**own[part], **known(make)) for part, make in makers.items()]


def _objective(entry: Entry) -> Callable[..., Objective] | None:
    return entry.objective or (None if entry.make or entry.stages else getattr(entry.method, "objective", None))
