import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, defaults, equal, offline, on, start, student_of, supervised, transformer, with_token
from tiny_nets import CLASSES, LABELS, staged

from kdjax import losses, methods
from kdjax.core import Frozen, InputError, Net

KEY = jax.random.key(5)
CASE = on(with_token, staged, offline(methods.deit))


def logits_of(*names):
    """A net that is its logits: one parameter `[B, K]` for each tap."""

    def init(key, x):
        return {name: jnp.zeros((len(x), 10)) for name in names}, {}

    return Net(init, lambda params, stats, x, *, train, key=None: (dict(params), stats))


@pytest.mark.parametrize(("kind", "reduction"), [("hard", "batchmean"), ("soft", "numel")])
def test_golden(golden, kind, reduction):
    g = golden(f"deit/{kind}")
    student, teacher = logits_of("logits", "logits_distillation"), logits_of("logits")
    method = methods.deit(
        student, teacher, optax.sgd(1.0), alpha=float(g["hp_alpha"]), kind=kind, temperature=float(g["hp_tau"]),
        reduction=reduction, smoothing=0.0,
    )  # fmt: skip
    batch = {"image": jnp.zeros((6, 1)), "label": jnp.asarray(g["labels"]), "index": jnp.arange(6)}
    state = method.init(KEY, batch, {"teacher": Frozen({"logits": jnp.asarray(g["logits_t"])}, {})})
    params = {"logits": jnp.asarray(g["logits_s_cls"]), "logits_distillation": jnp.asarray(g["logits_s_dist"])}
    state = state._replace(learner=state.learner.replace(params={"adapter": {}, "student": params}))
    new, metrics = method.step(state, batch, KEY)
    np.testing.assert_allclose(metrics["loss"], g["loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics["decision"], g["loss_distill"], rtol=1e-6)
    moved = jax.tree.map(jnp.subtract, params, new.learner.params["student"])
    close(moved, {"logits": g["grad_logits_s_cls"], "logits_distillation": g["grad_logits_s_dist"]}, atol=1e-6)


def test_without_the_teacher_s_share_it_is_supervised_training_of_the_class_token():
    distilled, plain = CASE(alpha=0.0), supervised(net=with_token(), tx=optax.sgd(0.05), smoothing=0.1)
    a, b = start(distilled), start(plain)
    (a, _), (b, _) = jax.jit(distilled.method.step)(a, distilled.batch, KEY), jax.jit(plain.method.step)(b, plain.batch, KEY)
    close(student_of(a)[0], student_of(b)[0], atol=1e-7)
    half = CASE(alpha=0.5)
    changed, _ = jax.jit(half.method.step)(start(half), half.batch, KEY)
    assert not equal(student_of(changed)[0]["classifier_distillation"], student_of(start(half))[0]["classifier_distillation"])


def test_mixed_labels_are_distributions_and_the_teacher_s_decision_is_not_smoothed():
    student, teacher = logits_of("logits", "logits_distillation"), logits_of("logits")
    rng = np.random.default_rng(0)
    z_c, z_d, z_t = (jnp.asarray(rng.normal(size=(6, 10)), jnp.float32) for _ in range(3))
    target = jax.nn.softmax(jnp.asarray(rng.normal(size=(6, 10)), jnp.float32))
    method = methods.deit(student, teacher, optax.sgd(1.0), alpha=0.25, smoothing=0.2)
    batch = {"image": jnp.zeros((6, 1)), "label": target, "index": jnp.arange(6)}
    state = method.init(KEY, batch, {"teacher": Frozen({"logits": z_t}, {})})
    params = {"adapter": {}, "student": {"logits": z_c, "logits_distillation": z_d}}
    _, metrics = method.step(state._replace(learner=state.learner.replace(params=params)), batch, KEY)
    base = -jnp.mean(jnp.sum((0.8 * target + 0.02) * jax.nn.log_softmax(z_c), -1))
    decided = -jnp.mean(jnp.max(jnp.where(jax.nn.one_hot(jnp.argmax(z_t, -1), 10) > 0, jax.nn.log_softmax(z_d), -jnp.inf), -1))
    np.testing.assert_allclose(metrics["loss"], 0.75 * base + 0.25 * decided, rtol=1e-5)


def test_the_soft_kind_has_its_temperature():
    rng = np.random.default_rng(0)
    z_s, z_t = (jnp.asarray(rng.normal(size=(6, 10)), jnp.float32) for _ in range(2))
    method = methods.deit(logits_of("logits"), logits_of("logits"), optax.sgd(1.0), kind="soft", temperature=1.5, token="class")
    batch = {"image": jnp.zeros((6, 1)), "label": jnp.arange(6), "index": jnp.arange(6)}
    state = method.init(KEY, batch, {"teacher": Frozen({"logits": z_t}, {})})
    params = {"adapter": {}, "student": {"logits": z_s}}
    _, metrics = method.step(state._replace(learner=state.learner.replace(params=params)), batch, KEY)
    np.testing.assert_allclose(metrics["decision"], losses.deit_soft(z_s, z_t, temperature=1.5).mean(), rtol=1e-5)


def test_the_class_token_alone_and_what_is_shipped():
    case = on(transformer, staged, offline(methods.deit, token="class"))()
    _, metrics = jax.jit(case.method.step)(start(case), case.batch, KEY)
    assert np.isfinite(metrics["decision"])
    both = CASE()
    taps = both.method.predict(start(both), both.batch["image"])["student"]
    np.testing.assert_allclose(taps["logits"], (taps["logits_class"] + taps["logits_distillation"]) / 2, rtol=1e-6)
    assert taps["logits"].shape == (len(LABELS), CLASSES)


def test_refusals():
    case = on(transformer, staged, offline(methods.deit))()
    with pytest.raises(InputError, match=r"tap 'logits_distillation' is not one of the student's"):
        jax.eval_shape(case.method.step, start(case), case.batch, KEY)
    for options in ({"alpha": 1.5}, {"kind": "medium"}, {"token": "patch"}):
        with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
            CASE(**options)


def test_the_defaults_are_the_authors():
    assert defaults(methods.deit) == {
        "alpha": 0.5, "kind": "hard", "token": "distillation", "temperature": 3.0, "reduction": "batchmean", "smoothing": 0.1,
    }  # fmt: skip
