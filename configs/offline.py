"""A teacher and a student by any offline method, and the table of these methods, `method=`, which other studies share.

    python launch/main.py --config=configs/offline.py:method=crd,student=resnet8,teacher=resnet14 --workdir=runs/crd

A teacher that knows all labels teaches a student that knows them too, beside the same student alone, five seeds each; the default
is handwritten digits with small nets. `configs/quickstart.py` is this study with few labels, `configs/benchmark.py` with many
methods, `configs/cifar100.py` and `configs/imagenet_kd.py` with the budgets of the papers.
"""

from functools import partial

from ml_collections import ConfigDict

from kdjax import methods
from kdjax.core import check_option
from kdjax.evaluate.classifier import classification
from kdjax.evaluate.peers import classification_of_peers
from kdjax.experiment import distillation, sections, student_nets
from kdjax.experiment.entry import Entry, first_stage, method_section
from kdjax.experiment.hint_points import at_hint_points
from kdjax.experiment.hints import after_hints
from kdjax.methods.offline import cross_attention, deit, tinymim, tst


def train_ab(c, *, first=first_stage(methods.ab, schedule="constant")):
    """Which neurons of the teacher's stages are on; then the labels alone."""
    return after_hints(c, methods.ab, first)


def train_ackd(c, *, learners=2):
    """So many learners behind the student's last stage but one."""
    check_option("learners", learners, lambda n: n >= 0, "0 or more")
    return c.stage(lambda c: methods.ackd(c.student, c.teacher, [c.bridge(c.specification)] * learners, c.tx, **c.options))


def train_deit(c):
    """A vision transformer with the distillation token; its plain form is the student alone."""
    return c.stage(student=student_nets.with_token(c))


def train_fitnet(c, *, first=first_stage(methods.fitnet_hint)):
    """A middle map, then `kd`."""
    return after_hints(c, methods.fitnet_hint, first)


def train_fsp(c, *, first=first_stage(methods.fsp, schedule="constant")):
    """The flow from layer to layer, then the labels alone."""
    return after_hints(c, methods.fsp, first)


def train_ft(c, *, first=first_stage(methods.paraphraser, schedule="constant", learning_rate=0.01)):
    """An autoencoder of the teacher's map, one for all students; then the student beside both."""
    before, layer = c.first(methods.paraphraser, first), c.settings["layer"].split("=")[-1]
    paraphraser = before.stage(lambda c: methods.paraphraser(c.teacher, c.tx, layer=layer, **c.options), nets={}, members=1)

    def given(results):
        return {**c.teaching.given(results), "paraphraser": results[before.name].frozen("paraphraser")}

    return paraphraser | c.stage(given=given)


def train_hsakd(c, *, first=first_stage(methods.hsakd_teacher, epochs=100, drops=(0.3, 0.6, 0.9))):
    """Branches behind the teacher's stages, one set for all students; then the student with branches of its own."""
    c.teaching.check_float32("hsakd, whose teacher is trained on")
    before, net = c.first(methods.hsakd_teacher, first), c.teaching.specification
    branched = student_nets.branched(net)
    teacher = before.stage(
        lambda c: methods.hsakd_teacher(c.build(net), c.branches(net), c.tx, **c.options), nets={"branched": branched}, members=1,
        cached=False, alone=first["joint"], **({"evaluate": classification} if first["joint"] else {}),
    )  # fmt: skip
    return teacher | c.stage(
        lambda c: methods.hsakd(c.student, c.branches(c.specification), c.build(branched), c.tx, **c.options), cached=False,
        given=lambda results: {"teacher": results[before.name].frozen()},
    )  # fmt: skip


def train_learning_styles(c):
    """Two students, told as peers."""
    nets = {f"peer{k}": c.specification for k in (0, 1)}
    make = lambda c: methods.learning_styles([c.student] * 2, c.teacher, c.tx, **c.options)  # noqa: E731
    return c.stage(make, nets=nets, evaluate=classification_of_peers)


def train_mlkd(c):
    """A weak and a strong view of each image."""
    return methods.mlkd(c.student, c.teacher, c.tx, **c.options), c.weak_and_strong()


def train_pixel(c, *, factor=2):
    """The student sees images whose sides are divided by `factor`."""
    return c.stage(student=student_nets.shrunk(c, factor))


def train_pixel_chain(c, *, factor=2, first=first_stage(methods.kd, epochs=120)):
    """The student's net learns from the teacher on whole images, once; then it teaches the students."""
    before = c.first(methods.kd, first)
    assistant = before.stage(members=1, evaluate=classification)
    c = c.taught_by(c.build(c.specification), lambda results: {"teacher": results[before.name].frozen()})
    return assistant | c.stage(student=student_nets.shrunk(c, factor), cached=False)


def train_proc_kd(c):
    """The teacher's classes may be others."""
    return methods.proc_kd(c.student, c.teacher_of_any_classes, c.tx, **c.options)


def train_simkd(c, *, factor=2):
    """The student with a projector to the teacher's last map, whose linear layer it is given."""
    return c.stage(student=student_nets.projected(c, factor))


def train_sokd(c):
    """A last stage of its own behind the teacher's others."""
    net = c.teaching.specification
    return c.stage(lambda c: methods.sokd(c.student, c.teacher, c.bridge(net), c.tx, **c.options), cached=False)


def train_tinymim(c, *, first=first_stage(methods.tinymim)):
    """Which token relates to which, with as many heads as the teacher's block; then the labels alone."""
    return after_hints(c, methods.tinymim, first, student=student_nets.with_heads(c, first["block"]), any_classes=True)


def train_tst(c):
    """The augmenter has epochs of its own."""
    starts, passes = tst.augmenter_epochs(c.epochs, c.settings["phases"], c.settings["length"])
    return c.stage(steps=c.steps + len(starts) * passes * c.steps_per_epoch, cached=False)


METHODS = {
    "ab": Entry(methods.supervised, stages=train_ab),
    "ackd": Entry(methods.ackd, stages=train_ackd),
    "at": Entry(methods.at),
    "cakd": Entry(methods.cakd, objective=cross_attention.cakd_objective),
    "cc": Entry(methods.cc),
    "crd": Entry(methods.crd),
    "deit": Entry(methods.deit, stages=train_deit, objective=deit.deit_objective),
    "dist": Entry(methods.dist),
    "dkd": Entry(methods.dkd),
    "fitnet": Entry(methods.fitnet),
    "fitnet_two_stage": Entry(methods.kd, stages=train_fitnet),
    "fsp": Entry(methods.supervised, stages=train_fsp),
    "ft": Entry(methods.ft, stages=train_ft),
    "hsakd": Entry(methods.hsakd, stages=train_hsakd),
    "ickd": Entry(methods.ickd),
    "kd": Entry(methods.kd),
    "learning_styles": Entry(methods.learning_styles, stages=train_learning_styles),
    "lskd": Entry(methods.lskd),
    "mlkd": Entry(methods.mlkd, train_mlkd),
    "nst": Entry(methods.nst),
    "ofd": Entry(methods.ofd),
    "pixel": Entry(methods.pixel, stages=train_pixel),
    "pixel_chain": Entry(partial(methods.pixel, feature_weight=1.0), stages=train_pixel_chain),
    "pkt": Entry(methods.pkt),
    "proc_kd": Entry(methods.proc_kd, train_proc_kd),
    "pursuhint": Entry(methods.pursuhint, stages=at_hint_points),
    "reviewkd": Entry(methods.reviewkd),
    "rkd": Entry(methods.rkd),
    "simkd": Entry(methods.simkd, stages=train_simkd),
    "sokd": Entry(methods.sokd, stages=train_sokd),
    "sp": Entry(methods.sp),
    "srrl": Entry(methods.srrl),
    "tinymim": Entry(methods.supervised, stages=train_tinymim, objective=tinymim.tinymim_objective),
    "tst": Entry(methods.tst, stages=train_tst),
    "vid": Entry(methods.vid),
    "wsld": Entry(methods.wsld),
}


def get_config(variant: str = "", *, labels_per_class: int = 0, smoothing: float = 0.0) -> ConfigDict:
    chosen = sections.variant(variant, method="kd", student="conv_net", teacher="conv_net")
    rates = sections.rates_for(chosen["student"], 0.1, 0.5, 2.0, 5.0)
    return ConfigDict(
        {
            **sections.run_section(seeds=5),
            "data": sections.data_section("digits", batch=64, val_fraction=0.1),
            **sections.students_section(labels_per_class=labels_per_class, baseline_rates=rates, smoothing=smoothing),
            **sections.teacher_section(),
            **sections.teachers_section(),
            "cache": sections.cache_section(),
            "teacher_training": sections.training_section(
                chosen["teacher"], widths=(32, 64, 128), epochs=20, optimiser=sections.sgd_section(0.1)
            ),
            "student_training": sections.training_section(
                chosen["student"], widths=(8, 16), epochs=30, optimiser=sections.sgd_section(0.2)
            ),
            "method": method_section(chosen["method"], METHODS),
        }
    )


build = partial(distillation.build, table=METHODS)
