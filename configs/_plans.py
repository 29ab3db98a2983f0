"""The stages a method is made of: plans for `configs/_methods.py`."""

from functools import partial
from typing import Any

import jax

from configs._sections import keyword_defaults
from configs._setting import PACE, Entry, Setting
from kdjax import methods, models
from kdjax.core import Frozen
from kdjax.evaluate.classifier import classification
from kdjax.methods import offline
from kdjax.train import Result, Stage
from kdjax.train.optimiser import skip_zero_gradients


def direct(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """One stage: the student beside its teacher."""
    options = dict(setting.options)
    specification = entry.student(setting, **{name: options.pop(name) for name in keyword_defaults(entry.student)})
    make = partial(entry.method, setting.build(specification), setting.teacher, **options, **entry.known(setting))
    return {setting.name: setting.stage(make, {"student": specification}, given=setting.given)}


def on_views(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """One stage whose batches hold a weak and a strong view of each image."""
    return direct(entry, setting._replace(stage=partial(setting.stage, augment=setting.views)))


def beside_augmenter(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """One stage, longer than the student's epochs by those of the augmenter."""
    stages = direct(entry, setting._replace(stage=partial(setting.stage, cached=False)))
    starts, passes = offline.augmenter_epochs(setting.epochs, setting.options["phases"], setting.options["length"])
    more = len(starts) * passes * setting.per_epoch
    return {name: stage._replace(steps=stage.steps + more) for name, stage in stages.items()}


def after_hints(entry: Entry, setting: Setting) -> dict[str, Stage]:
    """Two stages: the student's layers learn from the teacher's, then all of it as the entry's method has it."""
    assert entry.first is not None
    options, hinted, pace = _apart(setting)
    specification, first = entry.student(setting), f"{setting.name}_first"
    student = setting.build(specification)
    hints = partial(entry.first, student, setting.teacher, **hinted)
    before = setting.stage(
        lambda tx, **shared: hints(skip_zero_gradients(tx), **shared), {"student": specification}, given=setting.given, **pace
    )
    if entry.method is methods.supervised:
        make, nets, given = partial(methods.supervised, student, **options), "network", {}
    else:
        make, nets = partial(entry.method, student, setting.teacher, **options), "student"
        given = {"given": setting.given}
    return {
        first: before,
        setting.name: setting.stage(make, {nets: specification}, **given, warm_start=_as_learner, warm_start_from=first),
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


def _apart(setting: Setting) -> tuple[dict, dict, dict]:
    """The options of a method, those of its first stage, and how that one is trained."""
    options = dict(setting.options)
    first = dict(options.pop("first"))
    return options, first, {name: first.pop(name) for name in PACE}


def _as_learner(state: Any, result: Result, member: int) -> Any:
    found = {part: {**getattr(state.learner, part), "student": tree} for part, tree in _student_of(result, member).items()}
    return state._replace(learner=state.learner.replace(**found))


def _student_of(result: Result, member: int) -> dict[str, Any]:
    """`params` and `stats` of one member."""
    return {part: jax.tree.map(lambda x: x[member], tree) for part, tree in result.weights["student"].items()}
