"""What `method=` takes in a variant: every way to teach a student, and the stages it is made of."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from configs import _plans as plans
from configs import _published as authors
from configs import _student_nets as student_nets
from configs._hint_points import at_hint_points
from configs._sections import keyword_defaults
from configs._setting import PACE, Entry, Setting
from kdjax import data, methods
from kdjax.core import InputError, Net, check_option, pick
from kdjax.methods import offline, recipes
from kdjax.train import Stage

_IMAGES = {"labels": lambda setting: setting.source.labels(), "numbers": lambda setting: data.numbers_of(setting.source)}

_STEPS = {"steps_per_epoch": lambda setting: setting.per_epoch}

_CONSTANT = {"schedule": "constant"}

_NORMALISED = {"mean": lambda setting: setting.student["mean"], "std": lambda setting: setting.student["std"]}

METHODS: dict[str, Entry] = {
    "ab": Entry(methods.supervised, plan=plans.after_hints, first=methods.ab, pace=_CONSTANT),
    "at": Entry(methods.at, offline.at_objective),
    "cakd": Entry(methods.cakd, offline.cakd_objective),
    "cc": Entry(methods.cc, offline.cc_objective),
    "crd": Entry(methods.crd, offline.crd_objective, knows=_IMAGES),
    "deit": Entry(methods.deit, offline.deit_objective, student=student_nets.with_token),
    "dist": Entry(methods.dist, offline.dist_objective),
    "dkd": Entry(methods.dkd, offline.dkd_objective, knows=_STEPS),
    "fitnet": Entry(methods.fitnet, offline.fitnet_objective),
    "fitnet_two_stage": Entry(methods.kd, plan=plans.after_hints, first=methods.fitnet_hint),
    "fsp": Entry(methods.supervised, plan=plans.after_hints, first=methods.fsp, pace=_CONSTANT),
    "ft": Entry(
        methods.ft,
        plan=plans.after_paraphraser,
        first=methods.paraphraser,
        pace=_CONSTANT | {"learning_rate": 0.01},
        published=authors.ft,
    ),
    "hsakd": Entry(
        methods.hsakd,
        plan=plans.behind_stages,
        first=methods.hsakd_teacher,
        pace={"epochs": 100, "drops": (0.3, 0.6, 0.9)},
        published=authors.hsakd,
    ),
    "ickd": Entry(methods.ickd, offline.ickd_objective),
    "kd": Entry(methods.kd, offline.kd_objective),
    "lskd": Entry(methods.lskd, offline.lskd_objective),
    "mlkd": Entry(methods.mlkd, plan=plans.on_views, published=authors.mlkd),
    "nst": Entry(methods.nst, offline.nst_objective),
    "ofd": Entry(methods.ofd, offline.ofd_objective),
    "pixel": Entry(methods.pixel, student=student_nets.shrunk, knows=_NORMALISED),
    "pixel_chain": Entry(
        partial(methods.pixel, feature_weight=1.0),
        plan=plans.after_assistant,
        student=student_nets.shrunk,
        knows=_NORMALISED,
        first=methods.kd,
        pace={"epochs": 120},
    ),
    "pkt": Entry(methods.pkt, offline.pkt_objective),
    "proc_kd": Entry(methods.proc_kd, knows={"steps": lambda setting: setting.per_epoch * setting.epochs}, other_classes=True),
    "pursuhint": Entry(methods.pursuhint, plan=at_hint_points),
    "reviewkd": Entry(methods.reviewkd, offline.reviewkd_objective, knows=_STEPS),
    "rkd": Entry(methods.rkd, offline.rkd_objective),
    "simkd": Entry(methods.simkd, student=student_nets.projected),
    "sp": Entry(methods.sp, offline.sp_objective),
    "srrl": Entry(methods.srrl, offline.srrl_objective),
    "tinymim": Entry(
        methods.supervised,
        offline.tinymim_objective,
        plan=plans.after_hints,
        student=student_nets.with_heads,
        first=methods.tinymim,
        other_classes=True,
    ),
    "tst": Entry(methods.tst, plan=plans.beside_augmenter, knows=_STEPS | {"epochs": lambda setting: setting.epochs}),
    "vid": Entry(methods.vid, offline.vid_objective),
    "wsld": Entry(methods.wsld, offline.wsld_objective),
}


def section(name: str, *, first: Mapping[str, Any] = {}, **changed: Any) -> dict:
    """A method's name and its options with their defaults, so that each can be overridden.

    A sum, `crd+kd`, has the options of each part under its name, and weighs the labels and `kd` by 1.

    Args:
      name: of a method, or a sum.
      first: other defaults of the options of a first stage.
      **changed: other defaults of the options of the method.
    """
    if "+" not in name:
        entry = pick("method", name, METHODS)
        before = {"first": {**PACE, **entry.pace, **keyword_defaults(entry.first), **first}} if entry.first else {}
        return {"name": name, **_shown(entry.method, entry), **before, **changed}
    parts = name.split("+")
    check_option("method", name, lambda _: len(set(parts)) == len(parts), "each part of a sum once")
    sections = {part: _shown(_objective(part), METHODS[part]) | ({"weight": 1.0} if part == "kd" else {}) for part in parts}
    return {"name": name, "label_weight": 1.0, **sections, **changed}


def published(method: str, student: str, teacher: str) -> dict:
    """What a method's authors change of the benchmark's training on CIFAR-100, as in `configs/_published.py`; a sum, nothing."""
    return {} if "+" in method else dict(pick("method", method, METHODS).published(student, teacher))


def stages(name: str, setting: Setting) -> dict[str, Stage]:
    """The stages of a method by its name, or of a sum."""
    if "+" in name:
        return plans.direct(Entry(partial(_sum, name.split("+"), setting)), setting)
    entry = pick("method", name, METHODS)
    if setting.separate:
        check_option(
            "--config.teachers_combine", "separate", lambda _: entry.first is None, f"ensemble with {name}, which has two stages"
        )
        return plans.direct(Entry(partial(_sum, [name], setting), student=entry.student), setting)
    plan, rest = entry.plan or plans.direct, dict(setting.options)
    own = {option: rest.pop(option) for option in keyword_defaults(plan)}
    return plan(entry, setting._replace(options=rest), **own)


def _shown(builder: Callable, entry: Entry) -> dict:
    shown = keyword_defaults(builder) | keyword_defaults(entry.student) | keyword_defaults(entry.plan or plans.direct)
    return {name: value for name, value in shown.items() if name not in entry.knows}


def _sum(parts: list[str], setting: Setting, student: Net, teacher: Net, tx: Any, *, label_weight: float, **options: Any):
    shared = {k: options.pop(k) for k in ("axis_name", "micro")}
    of_parts = options if len(parts) > 1 else {parts[0]: options}
    objectives = [_objective(part)(**of_parts[part], **METHODS[part].known(setting)) for part in parts]
    if shares := setting.separate:
        objectives = [recipes.each_teacher(one, len(shares), weights=shares) for one in objectives]
    asked = recipes.combine(recipes.labels_objective(label_weight), *objectives)
    return recipes.student(student, tx, asked, teacher=teacher, **shared)


def _objective(part: str) -> Callable[..., recipes.Objective]:
    objective = pick("method", part, METHODS).objective
    if objective is None:
        wanted = ", ".join(name for name, entry in METHODS.items() if entry.objective)
        raise InputError(f"method {part!r} cannot be a part of a sum, nor a loss for each teacher; those that can: {wanted}")
    return objective
