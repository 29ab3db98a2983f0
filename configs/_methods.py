"""What `method=` takes in a variant: every way to teach a student, and the stages it is made of."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax

from configs._sections import keyword_defaults
from kdjax import data, methods
from kdjax.core import Frozen, InputError, Net, check_option, pick
from kdjax.methods import offline
from kdjax.train import Result, Stage


class Setting(NamedTuple):
    """What a plan makes stages from.

    Attributes:
      name: of the student's stage.
      options: of the method, `config.method` without its name.
      student: specification of the student.
      teacher: the net behind `given["teacher"]`.
      given: `results of earlier stages -> {"teacher": Frozen}`.
      source: the images students learn from, some maybe without a label.
      dataset: all of the data.
      per_epoch: steps an epoch.
      build: `specification -> Net`.
      stage: `(make, nets, *, epochs=None, ...) -> Stage`, with `make(tx, micro=, axis_name=) -> Method`; without `epochs` the
        stage is the student's own, else one on the way to it.
    """

    name: str
    options: dict
    student: dict
    teacher: Net
    given: Callable[[dict], dict[str, Frozen]]
    source: data.Source
    dataset: data.Dataset
    per_epoch: int
    build: Callable[[dict], Net]
    stage: Callable[..., Stage]


class Entry(NamedTuple):
    """One way to teach.

    Attributes:
      method: whose keyword options the config shows; the last stage, or the only one.
      objective: what it adds to a sum, as in `crd+kd`; None where it cannot be added.
      plan: `Setting -> stages by name`, the last one that of the student.
      knows: options that follow from the data or the net, as functions of a Setting; the config does not show them.
      student: the specification of what is trained, where it is more than the student's net.
      first: the method of the stage before, whose options the config shows as `method.first`.
    """

    method: Callable[..., Any]
    objective: Callable[..., offline.Objective] | None = None
    plan: Callable[["Entry", Setting], dict[str, Stage]] | None = None
    knows: Mapping[str, Callable[[Setting], Any]] = {}
    student: Callable[[Setting], dict] = lambda setting: setting.student
    first: Callable[..., Any] | None = None


def direct(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """One stage: the student beside its teacher."""
    specification = entry.student(setting)
    make = partial(entry.method, setting.build(specification), setting.teacher, **setting.options, **_known(entry, setting))
    return {setting.name: setting.stage(make, {"student": specification}, given=setting.given)}


def after_hints(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """Two stages: the student's layers learn from the teacher's, then all of it as the entry's method has it."""
    assert entry.first is not None
    options = dict(setting.options)
    hinted = dict(options.pop("first"))
    epochs = hinted.pop("epochs")
    student, first = setting.build(setting.student), f"{setting.name}_first"
    hints = partial(entry.first, student, setting.teacher, **hinted)
    alone = entry.method is methods.supervised
    make = partial(entry.method, *((student,) if alone else (student, setting.teacher)), **options)

    def adopt(state: Any, result: Result, member: int) -> Any:
        weights = {part: _of_member(tree, member) for part, tree in result.weights["student"].items()}
        if alone:
            return state._replace(network=state.network.replace(**weights))
        learner = state.learner
        return state._replace(
            learner=learner.replace(
                params={**learner.params, "student": weights["params"]}, stats={**learner.stats, "student": weights["stats"]}
            )
        )

    name = "network" if alone else "student"
    return {
        first: setting.stage(hints, {"student": setting.student}, given=setting.given, epochs=epochs),
        setting.name: setting.stage(
            make, {name: setting.student}, **({} if alone else {"given": setting.given}), adopt=adopt, adopt_from=first
        ),
    }


def _of_member(tree: Any, member: int) -> Any:
    return jax.tree.map(lambda x: x[member], tree)


def _known(entry: Entry, setting: Setting) -> dict:
    return {name: known(setting) for name, known in entry.knows.items()}


_IMAGES = {"labels": lambda setting: setting.source.labels(), "numbers": lambda setting: data.numbers_of(setting.source)}

METHODS: dict[str, Entry] = {
    "kd": Entry(methods.kd, offline.kd_objective),
    "at": Entry(methods.at, offline.at_objective),
    "crd": Entry(methods.crd, offline.crd_objective, knows=_IMAGES),
    "fitnet": Entry(methods.fitnet, offline.fitnet_objective),
    "fitnet_two_stage": Entry(methods.kd, plan=after_hints, first=methods.fitnet_hint),
}


def section(name: str, **changed: Any) -> dict:
    """A method's name and its options with their defaults, so that each can be overridden.

    A sum, `crd+kd`, has the options of each part under its name, and weighs the labels and `kd` by 1.
    """
    if "+" not in name:
        entry = pick("method", name, METHODS)
        first = {"first": {"epochs": 30, **keyword_defaults(entry.first)}} if entry.first else {}
        return {"name": name, **_shown(entry.method, entry), **first, **changed}
    parts = name.split("+")
    check_option("method", name, lambda _: len(set(parts)) == len(parts), "each part of a sum once")
    sections = {part: _shown(_objective(part), METHODS[part]) | ({"weight": 1.0} if part == "kd" else {}) for part in parts}
    return {"name": name, "label_weight": 1.0, **sections, **changed}


def stages(name: str, setting: Setting) -> dict[str, Stage]:
    """The stages of a method by its name, or of a sum."""
    if "+" not in name:
        entry = pick("method", name, METHODS)
        return (entry.plan or direct)(entry, setting)
    return direct(Entry(partial(_sum, name.split("+"), setting)), setting)


def _shown(builder: Callable, entry: Entry) -> dict:
    return {name: value for name, value in keyword_defaults(builder).items() if name not in entry.knows}


def _sum(parts: list[str], setting: Setting, student: Net, teacher: Net, tx: Any, *, label_weight: float, **options: Any):
    shared = {k: options.pop(k) for k in ("axis_name", "micro")}
    objectives = [_objective(part)(**options[part], **_known(METHODS[part], setting)) for part in parts]
    return offline.offline(student, teacher, tx, offline.add(offline.labels_objective(label_weight), *objectives), **shared)


def _objective(part: str) -> Callable[..., offline.Objective]:
    objective = pick("method", part, METHODS).objective
    if objective is None:
        wanted = ", ".join(name for name, entry in METHODS.items() if entry.objective)
        raise InputError(f"method {part!r} cannot be a part of a sum; those that can: {wanted}")
    return objective
