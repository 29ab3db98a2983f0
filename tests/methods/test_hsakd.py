from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, equal, hsakd, hsakd_teacher, start, student_of, supervised, with_student
from tiny_nets import CLASSES, LABELS, images, labelled_images, without_batch_norm

from kdjax import losses, methods
from kdjax.core import Frozen, InputError, Net
from kdjax.models import attach

KEY = jax.random.key(5)


def tables(**names):
    """A Net whose taps are its parameters, whatever it sees."""

    def apply(params, stats, x, *, train, key=None):
        return {tap: params[name] for name, tap in names.items()}, stats

    return Net(lambda key, x: ({name: jnp.zeros((1, 1)) for name in names}, {}), apply)


def golden(name):
    with np.load(f"{__file__.rpartition('/methods/')[0]}/golden/hsakd/{name}.npz") as file:
        return dict(file)


BACKBONE, HEADS = tables(logits="logits"), tables(first="joint1", second="joint2")


def set_tables(g, side):
    return {"net": {"logits": g[f"logits_{side}"]}, "heads": {"first": g[f"ss_{side}0"], "second": g[f"ss_{side}1"]}}


def stepped(method, g, given):
    """One step of SGD at rate 1 from the golden logits: the metrics, and minus what the parameters moved by."""
    batch = {"image": jnp.zeros((len(g["labels"]), 2, 2, 1)), "label": jnp.asarray(g["labels"])}
    state = method.init(KEY, batch, given)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), set_tables(g, "s"))
    state = state._replace(learner=state.learner.replace(params=params))
    new, metrics = jax.jit(method.step)(state, batch, KEY)
    return metrics, jax.tree.map(lambda a, b: a - b, params, new.learner.params)


def test_the_student_s_step_is_that_of_the_authors_code():
    g = golden("student")
    teacher = jax.tree.map(jnp.asarray, set_tables(g, "t"))
    method = methods.hsakd(BACKBONE, HEADS, attach(BACKBONE, HEADS), optax.sgd(1.0), temperature=float(g["hp_temperature"]))
    metrics, moved = stepped(method, g, {"teacher": Frozen(teacher, {"net": {}, "heads": {}}, "golden")})
    np.testing.assert_allclose(metrics["loss"], g["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["branches"], g["loss_kl_per_branch"].sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["distillation"], g["loss_kl_final"], rtol=1e-5)
    close(moved["net"]["logits"], g["grad_logits_s"], atol=1e-5)
    close(moved["heads"], {"first": g["grad_ss_s0"], "second": g["grad_ss_s1"]}, atol=1e-5)


def test_the_teacher_s_step_is_that_of_the_authors_code():
    g = golden("teacher")
    method = methods.hsakd_teacher(BACKBONE, HEADS, optax.sgd(1.0), joint=True)
    metrics, moved = stepped(method, g, {})
    np.testing.assert_allclose(metrics["loss"], g["loss"], rtol=1e-5)
    close(moved["net"]["logits"], g["grad_logits_s"], atol=1e-5)
    close(moved["heads"], {"first": g["grad_ss_s0"], "second": g["grad_ss_s1"]}, atol=1e-5)


def pooled_head(width=5):
    """One branch behind `without_batch_norm`."""

    def apply(params, stats, taps, *, train, key=None):
        return {"joint1": taps["pooled"] @ params["kernel"]}, stats

    return Net(lambda key, taps: ({"kernel": jax.random.normal(key, (width, 4 * CLASSES))}, {}), apply)


NET = without_batch_norm()


def plain(teacher=None, **options):
    """On nets without batch norm; the teacher is another one, or as given."""
    method = methods.hsakd(NET, pooled_head(), attach(NET, pooled_head()), optax.sgd(0.5), **options)
    batch = labelled_images()
    whole = attach(NET, pooled_head()).init(jax.random.key(8), batch["image"])
    return method, batch, {"teacher": teacher or Frozen(*whole, "of a test")}


def test_without_imitation_it_is_supervised_training_on_upright_images():
    method, batch, given = plain(branch_weight=0.0, weight=0.0)
    alone = supervised(net=NET)
    state, other = method.init(KEY, batch, given), start(alone)
    other = with_student(other, state.learner.params["net"])
    new, _ = jax.jit(method.step)(state, batch, KEY)
    expected, _ = jax.jit(alone.method.step)(other, batch, KEY)
    close(new.learner.params["net"], student_of(expected)[0], atol=2.5e-7)  # one rounding of numbers up to 4
    assert equal(new.learner.params["heads"], state.learner.params["heads"])


def softmax(z):
    e = np.exp(np.float64(z) - np.max(z, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def divergence(s, t, temperature):
    p, q = softmax(s / temperature), softmax(t / temperature)
    return temperature**2 * (q * (np.log(q) - np.log(p))).sum(-1).mean()


def test_the_loss_is_the_paper_s():
    """Image 1 upright, then turned three times, then image 2: all exits see all of them, the labels only the upright ones."""
    method, batch, given = plain(temperature=2.0, label_weight=2.0, branch_weight=3.0, weight=4.0)
    state = method.init(KEY, batch, given)
    turned = np.stack([np.rot90(x, k) for x in np.asarray(batch["image"]) for k in range(4)])
    whole, teacher = attach(NET, pooled_head()), given["teacher"]
    s, _ = whole.apply(state.learner.params, state.learner.stats, turned, train=True)
    t, _ = whole.apply(teacher.params, teacher.stats, turned, train=False)
    _, metrics = jax.jit(method.step)(state, batch, KEY)
    upright = softmax(s["logits"])[::4][np.arange(16), np.asarray(LABELS)]
    wanted = {
        "cross_entropy": -np.log(upright).mean(),
        "branches": divergence(s["joint1"], t["joint1"], 2.0),
        "distillation": divergence(s["logits"], t["logits"], 2.0),
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4)
    loss = 2 * wanted["cross_entropy"] + 3 * wanted["branches"] + 4 * wanted["distillation"]
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)


def test_a_student_that_is_its_teacher_stays():
    method, batch, given = plain(label_weight=0.0)
    state = method.init(KEY, batch, given)
    state = state._replace(learner=state.learner.replace(params=given["teacher"].params))
    new, metrics = jax.jit(method.step)(state, batch, KEY)
    close(new.learner.params, given["teacher"].params, atol=1e-6)
    assert abs(metrics["loss"]) < 1e-5
    _, _, other = plain(label_weight=0.0)
    assert jax.jit(method.step)(method.init(KEY, batch, other), batch, KEY)[1]["loss"] > 0.1


def test_the_teacher_s_branches_learn_joint_labels_and_nothing_else_moves():
    case = hsakd_teacher()
    state = start(case)
    assert state.given["teacher"].params is not None and set(state.learner.params) == {
        "branch1_stage2_block1", "branch1_classifier", "branch2_stage2_block1", "branch2_classifier",
    }  # fmt: skip
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    turned = jnp.asarray(np.stack([np.rot90(x, k) for x in np.asarray(images()) for k in range(4)]))
    teacher, net = case.given["teacher"], case.nets["branched"]
    stats = {"net": teacher.stats, "heads": state.learner.stats}
    taps, _ = case.nets["teacher"].apply(teacher.params, teacher.stats, turned, train=False)
    heads = net.apply({"net": teacher.params, "heads": state.learner.params}, stats, turned, train=True)[0]
    assert not np.allclose(heads["stage1"], taps["stage1"])  # in training mode the backbone would have given other maps
    assert set(metrics) == {"joint_cross_entropy", "loss"}
    shipped = case.method.weights(new)["branched"]
    assert equal(shipped[0]["net"], teacher.params) and equal(shipped[1]["net"], teacher.stats)


def test_the_joint_loss_is_the_paper_s():
    case = hsakd_teacher(joint=True)
    state = start(case)
    turned = jnp.asarray(np.stack([np.rot90(x, k) for x in np.asarray(images()) for k in range(4)]))
    taps, _ = case.nets["branched"].apply(state.learner.params, state.learner.stats, turned, train=True)
    joint = (4 * np.asarray(LABELS)[:, None] + np.arange(4)).ravel()
    hard = -sum(np.log(softmax(taps[name])[np.arange(64), joint]).mean() for name in ("joint1", "joint2"))
    upright = -np.log(softmax(taps["logits"])[::4][np.arange(16), np.asarray(LABELS)]).mean()
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    np.testing.assert_allclose(metrics["joint_cross_entropy"], hard, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], hard + upright, rtol=1e-4)
    assert case.method.needs == () and not equal(new.learner.params["net"], state.learner.params["net"])


def watched(net, modes):
    """The same net, which notes the modes it runs in."""

    def apply(params, stats, x, *, train, key=None):
        modes.append(train)
        return net.apply(params, stats, x, train=train, key=key)

    return Net(net.init, apply)


def test_what_learns_is_in_training_mode_and_what_is_given_in_evaluation_mode():
    def modes(make, given):
        seen = {"own": [], "heads": [], "given": []}
        nets = {"own": NET, "heads": pooled_head(), "given": whole}
        method = make(**{name: watched(net, seen[name]) for name, net in nets.items()})
        state = jax.eval_shape(method.init, KEY, batch, given)
        for noted in seen.values():
            noted.clear()
        jax.eval_shape(method.step, state, batch, KEY)
        return {name: set(noted) for name, noted in seen.items()}

    whole, batch = attach(NET, pooled_head()), labelled_images()
    both, alone = (Frozen(*net.init(KEY, batch["image"]), "of a test") for net in (whole, NET))
    tx = optax.sgd(0.1)
    student = modes(lambda own, heads, given: methods.hsakd(own, heads, given, tx), {"teacher": both})
    assert student == {"own": {True}, "heads": {True}, "given": {False}}
    behind = modes(lambda own, heads, given: methods.hsakd_teacher(own, heads, tx), {"teacher": alone})
    assert behind == {"own": {False}, "heads": {True}, "given": set()}
    joint = modes(lambda own, heads, given: methods.hsakd_teacher(own, heads, tx, joint=True), {})
    assert joint == {"own": {True}, "heads": {True}, "given": set()}


def test_unlabelled_images_are_imitated_but_not_counted():
    method, batch, given = plain()
    known = jnp.arange(16) < 8
    state, step = method.init(KEY, batch, given), jax.jit(method.step)
    _, whole = step(state, batch, KEY)
    _, half = step(state, batch | {"label": jnp.where(known, LABELS, -1)}, KEY)
    assert half["branches"] == whole["branches"] and np.isfinite(half["cross_entropy"])
    logits = NET.apply(state.learner.params["net"], {}, batch["image"], train=True)[0]["logits"]
    np.testing.assert_allclose(half["cross_entropy"], losses.cross_entropy(logits[:8], LABELS[:8]).mean(), rtol=1e-5)
    case = hsakd_teacher()
    _, metrics = jax.jit(case.method.step)(start(case), case.batch | {"label": jnp.where(known, LABELS, -1)}, KEY)
    assert np.isfinite(metrics["loss"])


def test_micro_batches_are_turned_after_they_are_cut():
    method, batch, given = plain()
    micro, *_ = plain(micro=4)
    expected, _ = jax.jit(method.step)(method.init(KEY, batch, given), batch, KEY)
    new, _ = jax.jit(micro.step)(micro.init(KEY, batch, given), batch, KEY)
    close(new.learner.params, expected.learner.params, atol=1e-6)


def test_the_defaults_are_the_paper_s():
    shown = {k: p.default for k, p in signature(methods.hsakd).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert shown == {
        "label_weight": 1.0, "branch_weight": 1.0, "weight": 1.0, "temperature": 3.0, "axis_name": None, "micro": 1,
    }  # fmt: skip


def test_refusals():
    case = hsakd()
    oblong = {**case.batch, "image": jnp.zeros((16, 8, 6, 1))}
    with pytest.raises(InputError, match="equal sides"):
        case.method.step(start(case), oblong, KEY)
    few = methods.hsakd(NET, pooled_head(), attach(BACKBONE, HEADS), optax.sgd(0.1))
    teacher = Frozen({"net": {"logits": jnp.zeros((64, 4))}, "heads": dict.fromkeys(("first", "second"), jnp.zeros((64, 16)))}, {
        "net": {}, "heads": {},
    }, "of a test")  # fmt: skip
    with pytest.raises(InputError, match="student has 1 exits but teacher has 2"):
        few.step(few.init(KEY, case.batch, {"teacher": teacher}), case.batch, KEY)
    bare = methods.hsakd(NET, pooled_head(), NET, optax.sgd(0.1))
    weights = Frozen(*NET.init(KEY, case.batch["image"]), "of a test")
    with pytest.raises(InputError, match="a net has no branches"):
        bare.step(bare.init(KEY, case.batch, {"teacher": weights}), case.batch, KEY)
