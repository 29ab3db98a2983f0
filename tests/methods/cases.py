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
from tiny_nets import CLASSES, LABELS, ROWS, Case, frozen, images, labelled_images, small

from kdjax import methods
from kdjax.augment import Geometry
from kdjax.core import Frozen, Net, by_part, from_linen, jit_fast_compile
from kdjax.methods.offline.paraphraser import Paraphraser
from kdjax.methods.recipes import Objective, Outputs
from kdjax.models import attach, branches, conv_net, exits, linear_head, mlp_head, patch_decoder, projected, shrink, vit


def supervised(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
    net = net or small(axis_name)
    method = methods.supervised(net, tx or optax.sgd(0.5), axis_name=axis_name, **options)
    return Case(method, labelled_images(), {}, {"network": net}, lambda s: s.learner.params["student"], "loss")


def kd(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
    net, teacher = net or small(axis_name), small(axis_name, 6)
    return taught(methods.kd, net, teacher, tx, axis_name=axis_name, **options)


def taught(make: Any, student: Net, teacher: Net, tx: Any = None, **options: Any) -> Case:
    """A method of methods/offline/ with its two nets."""
    method = make(student, teacher, tx or optax.sgd(0.5), **options)
    given, nets = {"teacher": frozen(teacher)}, {"student": student, "teacher": teacher}
    return Case(method, labelled_images(), given, nets, lambda s: s.learner.params, "loss")


def staged(axis_name: str | None = None, width: int = 4) -> Net:
    """A net of two stages, for what compares maps."""
    return conv_net((width, width + 2), CLASSES, axis_name=axis_name)


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


def mutual(make: Any, **fixed: Any) -> Callable[..., Case]:
    """The case of a method of methods/mutual/ on two peers."""

    def case(axis_name: str | None = None, nets: tuple[Net, ...] | None = None, tx: Any = None, **options: Any) -> Case:
        nets = nets or (small(axis_name), small(axis_name, 6))
        method = make(nets, tx or optax.sgd(0.5), axis_name=axis_name, **fixed | options)
        named = {f"peer{k}": net for k, net in enumerate(nets)}
        return Case(method, labelled_images(), {}, named, lambda s: [p.params for p in s.peers], "peer0_loss")

    return case


dml = mutual(methods.dml)


def hssakd(axis_name: str | None = None, tx: Any = None, **options: Any) -> Case:
    nets = (staged(axis_name), staged(axis_name, 6))
    heads = [branches_of(axis_name) for _ in nets]
    method = methods.hssakd(nets, heads, tx or optax.sgd(0.4), axis_name=axis_name, **options)
    named, beside = {f"peer{k}": net for k, net in enumerate(nets)}, ("peer0_branches", "peer1_branches")
    return Case(method, labelled_images(), {}, named, lambda s: [p.params for p in s.peers], "peer0_loss", beside=beside)


def self_distil(make: Any, rate: float = 0.5, noisy: bool = False, views: bool = False, **fixed: Any) -> Callable[..., Case]:
    """The case of a method of methods/self_distil/."""

    def case(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
        net = net or small(axis_name)
        method = make(net, tx or optax.sgd(rate), axis_name=axis_name, **fixed | options)
        batch = labelled_images() | ({"views": (images(), images() + 0.1 * images(1))} if views else {})
        return Case(method, batch, {}, {"network": net}, lambda s: s.learner.params["student"], "loss", noisy)

    return case


def with_exits(make: Any, rate: float = 0.1, **fixed: Any) -> Callable[..., Case]:
    """The case of one with classifiers behind the stages of its net."""

    def case(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
        heads = exits({"name": "conv_net", "classes": CLASSES}, axis_name=axis_name)
        own = self_distil(make, rate, exits=heads, **fixed)
        return own(axis_name, net or staged(axis_name), tx, **options)._replace(moved=lambda s: s.learner.params)

    return case


def sad(axis_name: str | None = None, net: Net | None = None, **options: Any) -> Case:
    return self_distil(methods.sad, rate=0.2)(axis_name, net or staged(axis_name), **options)


def cs_kd(*args: Any, **options: Any) -> Case:
    """Rows 2i and 2i + 1 are of one class."""
    case, order = self_distil(methods.cs_kd)(*args, **options), np.argsort(LABELS, kind="stable")
    return case._replace(batch={name: x[order] for name, x in case.batch.items()})


SLOW, PROBE, FOLLOWERS = optax.sgd(0.02), linear_head(CLASSES), ("target_encoder", "target_projector")


def siamese(
    make: Any, falls: str, *behind: str, tx: Any = SLOW, noisy: bool = False, rounding: float = 1e-5, **fixed: Any
) -> Callable[..., Case]:
    """The case of a method of methods/siamese/; `behind` are the nets behind encoder and projector, and those that follow."""

    def case(axis_name: str | None = None, **options: Any) -> Case:
        encoder = conv_net((4,), None, axis_name=axis_name)
        heads = (mlp_head(6, 5, axis_name=axis_name) for _ in range(1 + ("predictor" in behind)))
        method = make(encoder, *heads, tx, axis_name=axis_name, **fixed | options)
        batch = {"views": (images(), images() + 0.1 * images(1)), "label": LABELS, "index": jnp.arange(ROWS)}

        def moved(state):
            return (state.online.params, *([state.target.params] if state.target else []))

        return Case(method, batch, {}, {"encoder": encoder}, moved, falls, noisy, beside=("projector", *behind), rounding=rounding)

    return case


byol = siamese(methods.byol, "byol", "predictor", "probe", *FOLLOWERS, rounding=1e-6, steps=40, tau=0.9, probe=PROBE)


def deepcluster_v2(*args: Any, **options: Any) -> Case:
    """With clusters, as behind the first refresh."""
    fixed = {"numbers": 2 * np.arange(ROWS), "prototypes": 3, "heads": 2}
    case = siamese(methods.deepcluster_v2, "deepcluster", tx=optax.sgd(0.1), **fixed)(*args, **options)

    def init(key, batch, given):
        state = case.method.init(key, batch, given)
        found = state.memory.assignments
        return state._replace(memory=state.memory._replace(assignments=jnp.broadcast_to(LABELS % 3, found.shape)))

    return case._replace(method=case.method._replace(init=init), batch=case.batch | {"index": 2 * jnp.arange(ROWS)})


def lc_loss(axis_name: str | None = None, **options: Any) -> Case:
    """The second view is the left three quarters of the image, mirrored."""
    encoder, heads = conv_net((4,), None, axis_name=axis_name), [mlp_head(6, 5, axis_name=axis_name) for _ in range(3)]
    options = {"steps": 40, "tau": 0.9, "temperature": 0.5} | options
    method = methods.lc_loss(encoder, *heads, optax.sgd(0.1), axis_name=axis_name, **options)
    every = partial(jnp.broadcast_to, shape=(ROWS, 2, 2))
    still = Geometry(every(jnp.eye(2)), jnp.zeros((ROWS, 2)), (8, 8))
    moved = Geometry(every(jnp.diag(jnp.array([-0.75, 1.0]))), jnp.tile(jnp.array([6.0, 0.0]), (ROWS, 1)), (8, 8))
    left = jax.image.resize(images()[:, :, :6], (ROWS, 8, 8, 1), "linear")[:, :, ::-1]
    batch = {"views": (images(), left), "geometry": (still, moved), "label": LABELS, "index": jnp.arange(ROWS)}
    beside = ("projector", "local", "predictor", *FOLLOWERS, "target_local")
    return Case(
        method, batch, {}, {"encoder": encoder}, lambda s: (s.online.params, s.target.params), "loss", beside=beside, rounding=1e-5
    )


def mae(axis_name: str | None = None, **options: Any) -> Case:
    """Of the 16 patches of an image the encoder sees 8."""
    encoder, decoder = vit(2, 8, 1, 2, None, axis_name=axis_name), patch_decoder(2, 1, width=8, depth=1, heads=2)
    method = methods.mae(encoder, decoder, optax.sgd(0.3), axis_name=axis_name, **{"patch": 2, "mask": 0.5} | options)
    moved = lambda s: s.learner.params  # noqa: E731
    return Case(method, labelled_images(), {}, {"encoder": encoder}, moved, "loss", noisy=True, beside=("decoder",))


def uslt(axis_name: str | None = None, **options: Any) -> Case:
    """Neighbours of an image are those of its class, whose images look alike."""
    encoder, tx = conv_net((4,), None, axis_name=axis_name), options.pop("tx", optax.sgd(0.1))
    fixed = {"weak": lambda key, image: image + 0.1 * jax.random.uniform(key), "numbers": 2 * np.arange(ROWS), "clusters": 4}
    fixed |= {"heads": 2, "neighbours": 3, "threshold": 0.3, "adjustment": 1.0, "mean_momentum": 0.9}
    options = {**fixed, "axis_name": axis_name, **options}
    method = methods.uslt(encoder, tx, **options)
    given = {"images": Frozen({"image": images()}, {}, source="of a test")}
    batch = {"views": (images(), images() + 0.1 * images(1)), "label": LABELS, "index": 2 * jnp.arange(ROWS)}

    def init(key, batch, given):
        state = method.init(key, batch, given)
        near = (np.arange(ROWS)[:, None] + CLASSES * np.arange(1, 1 + state.neighbours.shape[1])) % ROWS
        return state._replace(neighbours=jnp.asarray(near, jnp.int32))

    return Case(
        method._replace(init=init), batch, given, {"encoder": encoder, "start": encoder}, lambda s: s.learner.params, "loss",
        noisy=True, still=lambda s: s.start.params, beside=("heads",), rounding=1e-5,
    )  # fmt: skip


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


def branches_of(axis_name: str | None = None) -> Net:
    """Classifiers of class and rotation behind the stages of `staged`."""
    return branches({"name": "conv_net", "classes": CLASSES}, axis_name=axis_name)


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
    "pixel": pixel,
    "tst": tst,
    "dml": dml,
    "hssakd": hssakd,
    "kdcl": mutual(methods.kdcl),
    "barlow_twins": siamese(methods.barlow_twins, "barlow_twins", weight=0.2),
    "byol": byol,
    "dino": siamese(
        methods.dino,
        "dino",
        "prototypes",
        "online_encoder",
        "target_projector",
        "target_prototypes",
        steps=40,
        steps_per_epoch=4,
        outputs=7,
        momentum=0.9,
        frozen_epochs=0,
    ),
    "moco": siamese(
        methods.moco,
        "probe",
        "probe",
        *FOLLOWERS,
        probe=PROBE,
        tx=by_part(SLOW, probe=optax.sgd(4.0)),
        queue=32,
        momentum=0.9,
        symmetric=True,
    ),
    "moco_v2_plus": siamese(
        methods.moco_v2_plus,
        "probe",
        "predictor",
        "probe",
        *FOLLOWERS,
        probe=PROBE,
        tx=by_part(SLOW, probe=optax.sgd(4.0)),
        noisy=True,
        steps=40,
        queue=32,
        momentum=0.9,
    ),
    "moco_v3": siamese(methods.moco_v3, "info_nce", "predictor", *FOLLOWERS, steps=40, momentum=0.9),
    "nnclr": siamese(methods.nnclr, "nnclr", "predictor", queue=32),
    "ressl": siamese(
        methods.ressl,
        "probe",
        "probe",
        *FOLLOWERS,
        probe=PROBE,
        tx=by_part(SLOW, probe=optax.sgd(4.0)),
        steps=40,
        queue=32,
        momentum=0.9,
    ),
    "simclr": siamese(methods.simclr, "nt_xent"),
    "simsiam": siamese(methods.simsiam, "simsiam", "predictor"),
    "swav": siamese(methods.swav, "swav", "prototypes", steps_per_epoch=4, prototypes=4, queue=32, queue_epoch=0, frozen_epochs=0),
    "vibcreg": siamese(methods.vibcreg, "vibcreg", invariance=2.0, variance=1.0, covariance=3.0),
    "vicreg": siamese(methods.vicreg, "vicreg", invariance=2.0, variance=1.0, covariance=0.5),
    "w_mse": siamese(methods.w_mse, "w_mse", tx=optax.sgd(1e-3), size=8, noisy=True),
    "twist": siamese(methods.twist, "twist", *FOLLOWERS, tx=optax.sgd(0.1), steps=40, momentum=0.9),
    "twist_labels": siamese(methods.twist_labels, "self_label", tx=optax.sgd(0.1), steps=40),
    "deepcluster_v2": deepcluster_v2,
    "fast_moco": siamese(methods.fast_moco, "info_nce", "predictor", *FOLLOWERS, temperature=0.2, momentum=0.9),
    "msbreg": siamese(methods.msbreg, "loss", "predictor", *FOLLOWERS, noisy=True, steps=40, tau=0.9, singular=0.5),
    "relicv2": siamese(methods.relicv2, "loss", "predictor", *FOLLOWERS, noisy=True, steps=40, large=2, negatives=3, momentum=0.9),
    "lc_loss": lc_loss,
    "mae": mae,
    "uslt": uslt,
    "bake": self_distil(methods.bake),
    "byot": with_exits(methods.byot),
    "confidence_penalty": self_distil(methods.confidence_penalty),
    "cs_kd": cs_kd,
    "ddgsd": self_distil(methods.ddgsd, rate=2.0, views=True),
    "dks": with_exits(methods.dks),
    "focal": self_distil(methods.focal),
    "ps_kd": self_distil(methods.ps_kd, labels=LABELS, steps_per_epoch=10, epochs=20),
    "sad": sad,
    "sd_dropout": self_distil(methods.sd_dropout, noisy=True, weight=0.1),
    "tf_kd": self_distil(methods.tf_kd),
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
