"""Every method on tiny nets: one function a method, all in one table."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from data_free_cases import DATA_FREE
from mutual_cases import MUTUAL
from self_distil_cases import SELF_DISTIL
from siamese_cases import SIAMESE
from tiny_nets import CLASSES, LABELS, Case, branches_of, bridge_of, frozen, images, labelled_images, small, staged

from kdjax import methods
from kdjax.core import Frozen, Net, from_linen, jit_fast_compile
from kdjax.evaluate import watermark_key
from kdjax.methods.offline.ackd import group_of
from kdjax.methods.offline.paraphraser import Paraphraser
from kdjax.methods.recipes import Objective, Outputs
from kdjax.models import attach, projected, shrink, vit


def supervised(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
    net = net or small(axis_name)
    method = methods.supervised(net, tx or optax.sgd(0.5), axis_name=axis_name, **options)
    return Case(method, labelled_images(), {}, {"network": net}, lambda s: s.learner.params["student"], "loss")


def watermark(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
    net = net or small(axis_name)
    options = {"key": watermark_key(0, CLASSES)} | options
    method = methods.watermark(net, tx or optax.sgd(0.5), axis_name=axis_name, **options)
    return Case(method, labelled_images(), {}, {"network": net}, lambda s: s.learner.params["student"], "loss")


def kd(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
    net, teacher = net or small(axis_name), small(axis_name, 6)
    return taught(methods.kd, net, teacher, tx, axis_name=axis_name, **options)


def taught(make: Any, student: Net, teacher: Net, tx: Any = None, **options: Any) -> Case:
    """A method of methods/offline/ with its two nets."""
    method = make(student, teacher, tx or optax.sgd(0.5), **options)
    given, nets = {"teacher": frozen(teacher)}, {"student": student, "teacher": teacher}
    return Case(method, labelled_images(), given, nets, lambda s: s.learner.params, "loss")


def offline(make: Any, rate: float = 0.05, noisy: bool = False, width: int = 6, **fixed: Any) -> Callable[..., Case]:
    """The case of a method of methods/offline/ on nets of two stages."""

    def case(axis_name: str | None = None, student: Net | None = None, teacher: Net | None = None, tx: Any = None, **options: Any):
        nets = student or staged(axis_name), teacher or staged(axis_name, width)
        return taught(make, *nets, tx or optax.sgd(rate), axis_name=axis_name, **fixed | options)._replace(noisy=noisy)

    return case


def first_stage(make: Any, **fixed: Any) -> Callable[..., Case]:
    """The case of one that trains the layers below the classifier."""

    def case(*args: Any, **options: Any):
        def below(params):
            return {**params, "student": {name: layer for name, layer in params["student"].items() if name != "classifier"}}

        return offline(make, **fixed)(*args, **options)._replace(
            moved=lambda s: below(s.learner.params), still=lambda s: s.learner.params["student"]["classifier"]
        )

    return case


def mlkd(*args: Any, **options: Any) -> Case:
    case = offline(methods.mlkd)(*args, **options)
    return case._replace(batch=case.batch | {"views": (images(), images() + 0.2 * images(1))})


def said_again(teacher: Net, weights: Frozen, rate: float = 0.5) -> Net:
    """The paraphraser of a teacher's last map as a Net of images."""
    module = from_linen(Paraphraser(rate))

    def look(x):
        return teacher.apply(weights.params, weights.stats, x, train=False)[0]["stage2"]

    return Net(
        lambda key, x: module.init(key, look(x)),
        lambda params, stats, x, *, train, key=None: module.apply(params, stats, look(x), train=train),
    )


def paraphraser(axis_name: str | None = None, tx: Any = None, rate: float = 0.5, layer: str = "") -> Case:
    teacher = staged(axis_name, 6)
    given = frozen(teacher)
    method = methods.paraphraser(teacher, tx or optax.adam(0.01), rate=rate, layer=layer, axis_name=axis_name)
    nets = {"paraphraser": said_again(teacher, given), "teacher": teacher}
    return Case(method, labelled_images(), {"teacher": given}, nets, lambda s: s.paraphraser.params, "loss")


def ft(*args: Any, **options: Any) -> Case:
    case = offline(methods.ft)(*args, **options)
    teacher = case.given["teacher"]
    said = frozen(said_again(case.nets["teacher"], teacher), 4)
    return case._replace(given={"paraphraser": said, "teacher": teacher})


def simkd(axis_name: str | None = None, tx: Any = None, **options: Any) -> Case:
    teacher = staged(axis_name, 6)
    student = projected({"name": "conv_net", "widths": [4, 6], "classes": 0}, "stage2", 8, (4, 4), CLASSES, axis_name=axis_name)
    return taught(methods.simkd, student, teacher, tx or optax.sgd(0.05), axis_name=axis_name, **options)


def transformer(axis_name: str | None = None, width: int = 8, **options: Any) -> Net:
    """A net of two blocks with two heads."""
    return vit(4, width, 2, 2, CLASSES, axis_name=axis_name, **options)


def on(student: Callable, teacher: Callable, case: Callable[..., Case]) -> Callable[..., Case]:
    """The case on other nets, functions of `axis_name`."""

    def other(axis_name: str | None = None, **options: Any) -> Case:
        return case(axis_name, **{"student": student(axis_name), "teacher": teacher(axis_name)} | options)

    return other


def with_token(axis_name: str | None = None) -> Net:
    return transformer(axis_name, distillation=True)


def cakd(*args: Any, **options: Any) -> Case:
    case = on(staged, transformer, offline(methods.cakd, noisy=True))(*args, **options)
    return case._replace(moved=lambda s: (s.learner.params, s.critic.params), beside=("critic",))


def tinymim(*args: Any, **options: Any) -> Case:
    """What follows the last attention does not learn."""
    case = on(partial(transformer, width=12), transformer, offline(methods.tinymim, rate=1.0))(*args, **options)
    after = ("proj", "fc1", "fc2", "norm2")

    def moved(state):
        net = state.learner.params["student"]
        last = {name: layer for name, layer in net["block2"].items() if name not in after}
        return {**{name: layer for name, layer in net.items() if name != "classifier"}, "block2": last}

    def still(state):
        net = state.learner.params["student"]
        return net["classifier"], [net["block2"][name] for name in after]

    return case._replace(moved=moved, still=still)


def hsakd_teacher(axis_name: str | None = None, tx: Any = None, joint: bool = False, **options: Any) -> Case:
    teacher = staged(axis_name, 6)
    heads = branches_of(axis_name)
    method = methods.hsakd_teacher(teacher, heads, tx or optax.sgd(1.0), joint=joint, axis_name=axis_name, **options)
    given, nets = {"teacher": frozen(teacher)}, {"branched": attach(teacher, heads), "teacher": teacher}
    if joint:
        given, nets = {}, {"branched": nets["branched"]}
    return Case(method, labelled_images(), given, nets, lambda s: s.learner.params, "loss")


def hsakd(axis_name: str | None = None, tx: Any = None, **options: Any) -> Case:
    student, teacher = staged(axis_name), attach(staged(axis_name, 6), branches_of(axis_name))
    method = methods.hsakd(student, branches_of(axis_name), teacher, tx or optax.sgd(0.2), axis_name=axis_name, **options)
    given, nets = {"teacher": frozen(teacher, scale=1.5)}, {"student": student, "teacher": teacher}
    return Case(method, labelled_images(), given, nets, lambda s: s.learner.params, "loss", beside=("branches",))


def sokd(axis_name: str | None = None, tx: Any = None, **options: Any) -> Case:
    student, teacher, heads = staged(axis_name), staged(axis_name, 6), bridge_of(axis_name)
    method = methods.sokd(student, teacher, heads, tx or optax.sgd(0.2), axis_name=axis_name, **options)
    nets = {"student": student, "teacher": teacher, "bridge": attach(teacher, heads)}
    return Case(method, labelled_images(), {"teacher": frozen(teacher)}, nets, lambda s: s.learner.params, "loss")


def ackd(axis_name: str | None = None, tx: Any = None, count: int = 2, **options: Any) -> Case:
    student, teacher, learners = staged(axis_name), staged(axis_name, 6), [bridge_of(axis_name)] * count
    method = methods.ackd(student, teacher, learners, tx or optax.sgd(0.05), axis_name=axis_name, **{"width": 5} | options)
    nets = {"student": student, "teacher": teacher} | ({"group": attach(student, group_of(learners, 5))} if count else {})
    return Case(method, labelled_images(), {"teacher": frozen(teacher)}, nets, lambda s: s.learner.params, "distillation")


def learning_styles(axis_name: str | None = None, tx: Any = None, **options: Any) -> Case:
    students, teacher = [staged(axis_name)] * 2, staged(axis_name, 6)
    method = methods.learning_styles(students, teacher, tx or optax.sgd(0.05), axis_name=axis_name, **options)
    nets = {"peer0": students[0], "peer1": students[1], "teacher": teacher}
    given = {"teacher": frozen(teacher)}
    moved = lambda s: [p.params for p in (*s.peers, s.adapter) if p]  # noqa: E731
    return Case(method, labelled_images(), given, nets, moved, "peer0_loss", beside=("adapter",))


def pixel(*args: Any, factor: int = 2, **options: Any) -> Case:
    options = {"mean": (0.5,), "std": (0.25,), "reconstruction": 1.0, "feature_weight": 1.0} | options
    student = lambda axis_name: shrink(staged(axis_name), factor)  # noqa: E731
    return on(student, partial(staged, width=6), offline(methods.pixel))(*args, **options)


def tst(
    axis_name: str | None = None, student: Net | None = None, teacher: Net | None = None, tx: Any = None, **options: Any
) -> Case:
    """The augmenter learns in steps 4 to 11."""
    student, teacher = student or staged(axis_name), teacher or staged(axis_name, 6)
    options = {"steps_per_epoch": 4, "epochs": 4, "phases": (0.25,), "length": 0.5} | options
    method = methods.tst(student, teacher, tx or optax.sgd(0.05), axis_name=axis_name, **options)
    given, nets = {"teacher": frozen(teacher)}, {"student": student, "teacher": teacher}
    return Case(method, labelled_images(), given, nets, lambda s: s.student.params, "loss", noisy=True)


CASES: dict[str, Callable[..., Case]] = {
    "supervised": supervised,
    "watermark": watermark,
    "kd": kd,
    "ab": first_stage(methods.ab),
    "at": offline(methods.at, weight=10.0),
    "crd": offline(methods.crd, rate=0.2, labels=LABELS, negatives=5, width=3, noisy=True),
    "dist": offline(methods.dist, weight=0.1),
    "dkd": offline(methods.dkd, steps_per_epoch=4, warmup_epochs=0),
    "fitnet": offline(methods.fitnet, weight=1.0),
    "fitnet_hint": first_stage(methods.fitnet_hint, weight=1.0),
    "fsp": first_stage(methods.fsp, width=4),
    "ft": ft,
    "lskd": offline(methods.lskd),
    "mlkd": mlkd,
    "paraphraser": paraphraser,
    "cc": offline(methods.cc, weight=1e-3),
    "nst": offline(methods.nst, weight=1.0),
    "ofd": offline(methods.ofd, rate=0.5),
    "pkt": offline(methods.pkt, weight=100.0),
    "reviewkd": offline(methods.reviewkd, weight=1.0, steps_per_epoch=1, warmup_epochs=2),
    "rkd": offline(methods.rkd, distance_weight=1.0, angle_weight=2.0),
    "simkd": simkd,
    "sp": offline(methods.sp, weight=10.0),
    "srrl": offline(methods.srrl),
    "vid": offline(methods.vid, rate=0.5),
    "wsld": offline(methods.wsld),
    "cakd": cakd,
    "deit": on(with_token, staged, offline(methods.deit)),
    "proc_kd": on(staged, transformer, offline(methods.proc_kd, steps=1, warmup=0.0, prototypes=3)),
    "pursuhint": offline(methods.pursuhint, layers=("stage1", "stage2"), factor=0.01),
    "tinymim": tinymim,
    "hsakd": hsakd,
    "hsakd_teacher": hsakd_teacher,
    "ickd": offline(methods.ickd, weight=1.0),
    "ackd": ackd,
    "learning_styles": learning_styles,
    "sokd": sokd,
    "pixel": pixel,
    "tst": tst,
    **MUTUAL,
    **SIAMESE,
    **SELF_DISTIL,
    **DATA_FREE,
}  # fmt: skip


def defaults(make: Any) -> dict:
    """The options of a method that differ from method to method, with their defaults."""
    options = (p for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY)
    return {p.name: p.default for p in options if p.name not in ("axis_name", "micro")}


def look(student: Any, teacher: Any, params: Any = None, step: int = 0) -> Outputs:
    """A batch as an objective sees it, of bare taps; `params` are the teacher's."""
    given = {"teacher": Frozen({} if params is None else params, {})}
    return Outputs(student, teacher, given, {}, jax.random.key(0), jnp.int32(step))


def unweighted(objective: Objective, seen: Outputs, params: Any = None, stats: Any = None) -> jax.Array:
    """The sum of an objective's terms, each its batch mean, with its adapter in training mode."""
    adapted = {}
    if objective.adapter:
        adapted, _ = objective.adapter.apply(params, {} if stats is None else stats, seen, train=True)
    return sum((jnp.mean(term) for term in objective.terms(seen, adapted).values()), jnp.zeros(()))


def start(case: Case, seed: int = 0) -> Any:
    return jit_fast_compile(case.method.init)(jax.random.key(seed), case.batch, case.given)


def student_of(state: Any) -> tuple:
    """Parameters and statistics of the student in the State of a method of methods/offline/."""
    return state.learner.params["student"], state.learner.stats["student"]


def with_student(state: Any, params: Any, stats: Any = None) -> Any:
    """The State with other parameters of the student, and maybe other statistics."""
    learner = state.learner
    found = {"params": {**learner.params, "student": params}}
    found |= {} if stats is None else {"stats": {**learner.stats, "student": stats}}
    return state._replace(learner=learner.replace(**found))


def close(a: Any, b: Any, **tolerance: float) -> None:
    """Equal trees, every leaf to the tolerance (none: bit for bit)."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **({"rtol": 0} | tolerance))


def equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
