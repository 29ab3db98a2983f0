"""What `method=` takes in a variant: every way to teach a student, and the stages it is made of."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from configs._hint_points import at_hint_points
from configs._sections import keyword_defaults
from kdjax import data, methods, models
from kdjax.core import Frozen, InputError, Net, check_option, pick
from kdjax.methods import offline
from kdjax.train import Result, Stage
from kdjax.train.measures import classification
from kdjax.train.optimiser import reached


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
      shape: of one image as networks see it.
      build: `specification -> Net`.
      stage: `(make, nets, *, epochs=None, ...) -> Stage`, with `make(tx, micro=, axis_name=) -> Method`; without `epochs` the
        stage is the student's own, else one on the way to it.
      teacher_net: specification of the teacher.
      epochs: of the student.
      views: the augmentation that adds a weak and a strong view.
      streams: shares of teachers that each have a stream of their own; () for one teacher, and for several that answer as one.
    """

    name: str
    options: dict
    student: dict
    teacher: Net
    given: Callable[[dict], dict[str, Frozen]]
    source: data.Source
    dataset: data.Dataset
    per_epoch: int
    shape: tuple[int, int, int]
    build: Callable[[dict], Net]
    stage: Callable[..., Stage]
    teacher_net: dict
    epochs: int
    views: Callable
    streams: tuple[float, ...] = ()


class Entry(NamedTuple):
    """One way to teach.

    Attributes:
      method: whose keyword options the config shows; the last stage, or the only one.
      objective: what it adds to a sum, as in `crd+kd`; None where it cannot be added.
      plan: `Setting -> stages by name`, the last one that of the student.
      knows: options that follow from the data or the net, as functions of a Setting; the config does not show them.
      student: the specification of what is trained, where it is more than the student's net; its keyword options are shown with the
        method's.
      first: the method of the stage before, whose options the config shows as `method.first`.
      pace: how that stage is trained, where it is not as `PACE`.
      other_classes: whether the teacher may know other classes than the data has.
    """

    method: Callable[..., Any]
    objective: Callable[..., offline.Objective] | None = None
    plan: Callable[["Entry", Setting], dict[str, Stage]] | None = None
    knows: Mapping[str, Callable[[Setting], Any]] = {}
    student: Callable[..., dict] = lambda setting: setting.student
    first: Callable[..., Any] | None = None
    pace: Mapping[str, Any] = {}
    other_classes: bool = False


def direct(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """One stage: the student beside its teacher."""
    options = dict(setting.options)
    specification = entry.student(setting, **{name: options.pop(name) for name in keyword_defaults(entry.student)})
    make = partial(entry.method, setting.build(specification), setting.teacher, **options, **_known(entry, setting))
    return {setting.name: setting.stage(make, {"student": specification}, given=setting.given)}


def after_hints(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """Two stages: the student's layers learn from the teacher's, then all of it as the entry's method has it."""
    assert entry.first is not None
    options, hinted, pace = _apart(setting)
    student, first = setting.build(setting.student), f"{setting.name}_first"
    alone = entry.method is methods.supervised
    build = partial(entry.first, student, setting.teacher, **hinted)

    def hints(tx: Any, **shared: Any) -> Any:
        return build(reached(tx), **shared)

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
        first: setting.stage(hints, {"student": setting.student}, given=setting.given, **pace),
        setting.name: setting.stage(
            make, {name: setting.student}, **({} if alone else {"given": setting.given}), adopt=adopt, adopt_from=first
        ),
    }


def after_paraphraser(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """Two stages: an autoencoder of the teacher's map, one for all students; then the student beside both."""
    assert entry.first is not None
    options, said, pace = _apart(setting)
    first = f"{setting.name}_first"
    paraphraser = partial(entry.first, setting.teacher, layer=options["layer"].split("=")[-1], **said)

    def given(results: dict) -> dict[str, Frozen]:
        return {**setting.given(results), "paraphraser": results[first].frozen("paraphraser")}

    last = direct(entry, setting._replace(options=options, given=given))
    return {first: setting.stage(paraphraser, {}, given=setting.given, members=1, **pace)} | last


def on_views(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """One stage whose batches hold a weak and a strong view of each image."""
    return direct(entry, setting._replace(stage=partial(setting.stage, augment=setting.views)))


def behind_stages(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """Two stages: branches behind the teacher's stages, one set for all students; then the student with branches of its own."""
    assert entry.first is not None
    options, taught, pace = _apart(setting)
    teach, first, net = entry.first, f"{setting.name}_first", setting.teacher_net
    branched = {"name": "branched", "net": net, **{k: net[k] for k in ("classes", "dtype") if k in net}}

    def teacher(tx: Any, **shared: Any) -> Any:
        return teach(setting.build(net), models.branches(net, axis_name=shared["axis_name"]), tx, **taught, **shared)

    def student(tx: Any, **shared: Any) -> Any:
        heads = models.branches(setting.student, axis_name=shared["axis_name"])
        return entry.method(setting.build(setting.student), heads, setting.build(branched), tx, **options, **shared)

    own = {"evaluate": classification} if taught["joint"] else {"given": setting.given}
    return {
        first: setting.stage(teacher, {"branched": branched}, members=1, cached=False, **own, **pace),
        setting.name: setting.stage(
            student, {"student": setting.student}, cached=False, given=lambda results: {"teacher": results[first].frozen()}
        ),
    }


def beside_augmenter(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """One stage, longer than the student's epochs by those of the augmenter."""
    stages = direct(entry, setting._replace(stage=partial(setting.stage, cached=False)))
    starts, passes = offline.augmenter_epochs(setting.epochs, setting.options["phases"], setting.options["length"])
    more = len(starts) * passes * setting.per_epoch
    return {name: stage._replace(steps=stage.steps + more) for name, stage in stages.items()}


def after_assistant(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """Two stages: the student's net learns from the teacher on whole images, once; then it teaches the students."""
    assert entry.first is not None
    options, assisted, pace = _apart(setting)
    first, assistant = f"{setting.name}_first", setting.build(setting.student)
    make = partial(entry.first, assistant, setting.teacher, **assisted)
    stage = setting.stage(make, {"student": setting.student}, given=setting.given, members=1, evaluate=classification, **pace)
    last = setting._replace(
        options=options, teacher=assistant, given=lambda results: {"teacher": results[first].frozen()},
        stage=partial(setting.stage, cached=False),
    )  # fmt: skip
    return {first: stage} | direct(entry, last)


def _shrunk(setting: Setting, *, factor: int = 2) -> dict:
    """The student on images whose sides are divided by `factor`."""
    net = setting.student
    return {"name": "shrunk", "net": net, "factor": factor, "classes": net["classes"], "dtype": net["dtype"]}


# Of a first stage; a learning rate of 0 and no schedule are those of the student.
PACE = {"epochs": 30, "learning_rate": 0.0, "schedule": ""}


def _apart(setting: Setting) -> tuple[dict, dict, dict]:
    """The options of a method, those of its first stage, and how that one is trained."""
    options = dict(setting.options)
    first = dict(options.pop("first"))
    return options, first, {name: first.pop(name) for name in PACE}


def _of_member(tree: Any, member: int) -> Any:
    return jax.tree.map(lambda x: x[member], tree)


def _projected(setting: Setting, *, factor: int = 2) -> dict:
    """The student with a projector to the teacher's last map, whose linear layer it is given."""
    whole = {k: v for k, v in setting.student.items() if k in ("classes", "dtype", "mean", "std")}
    own = {k: v for k, v in setting.student.items() if k not in whole} | {"classes": 0}
    teacher = jax.eval_shape(lambda: models.last_map(_taps(setting.teacher, setting.shape)))
    tap = models.last_stage(jax.eval_shape(lambda: _taps(setting.build(own), setting.shape)))
    _, height, width, channels = teacher.shape
    return {"name": "projected", "net": own, "tap": tap, "channels": channels, "size": [height, width], "factor": factor, **whole}


def _taps(net: Net, shape: tuple[int, int, int]) -> dict[str, jax.Array]:
    images = jnp.zeros((1, *shape))
    return net.apply(*net.init(jax.random.key(0), images), images, train=False)[0]


def after_relations(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """As `after_hints`, with as many heads in the student's last block as the teacher's block has."""
    taps = jax.eval_shape(lambda: _taps(setting.teacher, setting.shape))
    blocks = models.block_names(taps)
    name = f"block{setting.options['first']['block'] or len(blocks)}_query"
    if name in taps and setting.student["name"].startswith(("vit", "deit")):
        setting = setting._replace(student=setting.student | {"last_heads": taps[name].shape[1]})
    return after_hints(entry, setting)


def _with_token(setting: Setting) -> dict:
    """A vision transformer with the distillation token; its plain form is the student alone."""
    name = setting.student["name"]
    if setting.options["token"] == "class":
        return setting.student
    return setting.student | ({"distillation": True} if name == "vit" else {"name": name.replace("vit_", "deit_")})


def _known(entry: Entry, setting: Setting) -> dict:
    return {name: known(setting) for name, known in entry.knows.items()}


_IMAGES = {"labels": lambda setting: setting.source.labels(), "numbers": lambda setting: data.numbers_of(setting.source)}

_STEPS = {"steps_per_epoch": lambda setting: setting.per_epoch}

_CONSTANT = {"schedule": "constant"}

_NORMALISED = {"mean": lambda setting: setting.student["mean"], "std": lambda setting: setting.student["std"]}

METHODS: dict[str, Entry] = {
    "kd": Entry(methods.kd, offline.kd_objective),
    "hsakd": Entry(methods.hsakd, plan=behind_stages, first=methods.hsakd_teacher, pace={"epochs": 100}),
    "ickd": Entry(methods.ickd, offline.ickd_objective),
    "pixel": Entry(methods.pixel, student=_shrunk, knows=_NORMALISED),
    "pixel_chain": Entry(
        partial(methods.pixel, feature_weight=1.0),
        plan=after_assistant,
        student=_shrunk,
        knows=_NORMALISED,
        first=methods.kd,
        pace={"epochs": 120},
    ),
    "tst": Entry(methods.tst, plan=beside_augmenter, knows=_STEPS | {"epochs": lambda setting: setting.epochs}),
    "ab": Entry(methods.supervised, plan=after_hints, first=methods.ab, pace=_CONSTANT),
    "at": Entry(methods.at, offline.at_objective),
    "cc": Entry(methods.cc, offline.cc_objective),
    "cakd": Entry(methods.cakd, offline.cakd_objective),
    "crd": Entry(methods.crd, offline.crd_objective, knows=_IMAGES),
    "deit": Entry(methods.deit, offline.deit_objective, student=_with_token),
    "dist": Entry(methods.dist, offline.dist_objective),
    "dkd": Entry(methods.dkd, offline.dkd_objective, knows=_STEPS),
    "fitnet": Entry(methods.fitnet, offline.fitnet_objective),
    "fitnet_two_stage": Entry(methods.kd, plan=after_hints, first=methods.fitnet_hint),
    "fsp": Entry(methods.supervised, plan=after_hints, first=methods.fsp, pace=_CONSTANT),
    "ft": Entry(methods.ft, plan=after_paraphraser, first=methods.paraphraser, pace=_CONSTANT | {"learning_rate": 0.01}),
    "lskd": Entry(methods.lskd, offline.lskd_objective),
    "mlkd": Entry(methods.mlkd, plan=on_views),
    "nst": Entry(methods.nst, offline.nst_objective),
    "ofd": Entry(methods.ofd, offline.ofd_objective),
    "pkt": Entry(methods.pkt, offline.pkt_objective),
    "proc_kd": Entry(methods.proc_kd, knows=_STEPS, other_classes=True),
    "pursuhint": Entry(methods.pursuhint, plan=at_hint_points),
    "reviewkd": Entry(methods.reviewkd, offline.reviewkd_objective, knows=_STEPS),
    "rkd": Entry(methods.rkd, offline.rkd_objective),
    "simkd": Entry(methods.simkd, student=_projected),
    "sp": Entry(methods.sp, offline.sp_objective),
    "srrl": Entry(methods.srrl, offline.srrl_objective),
    "tinymim": Entry(methods.supervised, offline.tinymim_objective, plan=after_relations, first=methods.tinymim),
    "vid": Entry(methods.vid, offline.vid_objective),
}


def section(name: str, **changed: Any) -> dict:
    """A method's name and its options with their defaults, so that each can be overridden.

    A sum, `crd+kd`, has the options of each part under its name, and weighs the labels and `kd` by 1.
    """
    if "+" not in name:
        entry = pick("method", name, METHODS)
        first = {"first": {**PACE, **entry.pace, **keyword_defaults(entry.first)}} if entry.first else {}
        return {"name": name, **_shown(entry.method, entry), **first, **changed}
    parts = name.split("+")
    check_option("method", name, lambda _: len(set(parts)) == len(parts), "each part of a sum once")
    sections = {part: _shown(_objective(part), METHODS[part]) | ({"weight": 1.0} if part == "kd" else {}) for part in parts}
    return {"name": name, "label_weight": 1.0, **sections, **changed}


def stages(name: str, setting: Setting) -> dict[str, Stage]:
    """The stages of a method by its name, or of a sum."""
    if "+" in name:
        return direct(Entry(partial(_sum, name.split("+"), setting)), setting)
    entry = pick("method", name, METHODS)
    if setting.streams:
        return direct(Entry(partial(_sum, [name], setting), student=entry.student), setting)
    plan, rest = entry.plan or direct, dict(setting.options)
    own = {option: rest.pop(option) for option in keyword_defaults(plan)}
    return plan(entry, setting._replace(options=rest), **own)


def _shown(builder: Callable, entry: Entry) -> dict:
    shown = keyword_defaults(builder) | keyword_defaults(entry.student) | keyword_defaults(entry.plan or direct)
    return {name: value for name, value in shown.items() if name not in entry.knows}


def _sum(parts: list[str], setting: Setting, student: Net, teacher: Net, tx: Any, *, label_weight: float, **options: Any):
    shared = {k: options.pop(k) for k in ("axis_name", "micro")}
    of_parts = options if len(parts) > 1 else {parts[0]: options}
    objectives = [_objective(part)(**of_parts[part], **_known(METHODS[part], setting)) for part in parts]
    if shares := setting.streams:
        objectives = [offline.each_teacher(one, len(shares), weights=shares) for one in objectives]
    return offline.offline(student, teacher, tx, offline.add(offline.labels_objective(label_weight), *objectives), **shared)


def _objective(part: str) -> Callable[..., offline.Objective]:
    objective = pick("method", part, METHODS).objective
    if objective is None:
        wanted = ", ".join(name for name, entry in METHODS.items() if entry.objective)
        raise InputError(f"method {part!r} cannot be a part of a sum, nor have a stream a teacher; those that can: {wanted}")
    return objective
