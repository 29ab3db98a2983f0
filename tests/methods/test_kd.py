from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, equal, kd, start, student_of, supervised
from tiny_nets import CLASSES, LABELS, small, without_batch_norm

from kdjax import methods
from kdjax.core import Frozen, InputError, Net

KEY = jax.random.key(5)
NET = without_batch_norm()


def softmax(z):
    z = np.asarray(z, np.float64)
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_without_distillation_it_is_supervised_training():
    distilled, plain = kd(weight=0.0, label_weight=1.0), supervised()
    a, b = start(distilled), start(plain)
    assert equal(student_of(a), student_of(b))
    step_a, step_b = jax.jit(distilled.method.step), jax.jit(plain.method.step)
    for _ in range(3):
        (a, _), (b, _) = step_a(a, distilled.batch, KEY), step_b(b, plain.batch, KEY)
    close(student_of(a), student_of(b), atol=1e-7)


@pytest.mark.parametrize(("temperature", "weight", "label_weight"), [(4.0, 0.9, 0.1), (1.0, 2.0, 0.0), (20.0, 0.5, 1.0)])
def test_the_loss_and_its_step_are_the_paper_s(temperature, weight, label_weight):
    case = kd(net=NET, temperature=temperature, weight=weight, label_weight=label_weight)
    state, images = start(case), case.batch["image"]
    taps, _ = NET.apply(state.learner.params["student"], {}, images, train=True)
    teacher = case.given["teacher"]
    wanted, _ = small(width=6).apply(teacher.params, teacher.stats, images, train=False)  # evaluation mode
    z, t = np.float64(taps["logits"]), np.float64(wanted["logits"])
    p, q = softmax(z / temperature), softmax(t / temperature)
    labels = np.eye(CLASSES)[np.asarray(LABELS)]
    divergence = temperature**2 * np.mean(np.sum(q * (np.log(q) - np.log(p)), -1))
    entropy = -np.mean(np.log(softmax(z)[np.arange(16), np.asarray(LABELS)]))

    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    np.testing.assert_allclose(metrics["distillation"], divergence, rtol=1e-4)
    np.testing.assert_allclose(metrics["cross_entropy"], entropy, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], label_weight * entropy + weight * divergence, rtol=1e-4)
    slope = (label_weight * (softmax(z) - labels) + weight * temperature * (p - q)) / 16
    np.testing.assert_allclose(
        state.learner.params["student"]["b"] - new.learner.params["student"]["b"],
        0.5 * np.asarray(taps["pooled"]).T @ slope,
        atol=1e-6,
    )


def test_the_defaults_are_the_benchmark_s():
    assert {k: p.default for k, p in signature(methods.kd).parameters.items() if p.kind is p.KEYWORD_ONLY} == {
        "temperature": 4.0, "weight": 0.9, "label_weight": 0.1, "axis_name": None, "micro": 1,
    }  # fmt: skip


def test_a_student_that_is_its_teacher_stays():
    case = kd(net=NET)
    method = methods.kd(NET, NET, optax.sgd(0.1), label_weight=0.0)
    params, stats = NET.init(jax.random.key(3), case.batch["image"])
    state = method.init(KEY, case.batch, {"teacher": Frozen(params, stats)})
    learner = state.learner
    state = state._replace(learner=learner.replace(params=learner.params | {"student": params}))
    new, metrics = jax.jit(method.step)(state, case.batch, KEY)
    close(new.learner.params["student"], params, atol=1e-7)
    assert abs(metrics["distillation"]) < 1e-6


def test_unlabelled_rows_are_distilled():
    """Half of the labels are missing: the label term is that of the other half, the distillation that of all."""
    case = kd(net=NET)
    known = jnp.arange(16) < 8
    state, step = start(case), jax.jit(case.method.step)
    _, whole = step(state, case.batch, KEY)
    _, half = step(state, case.batch | {"label": jnp.where(known, LABELS, -1)}, KEY)
    logits = np.asarray(NET.apply(state.learner.params["student"], {}, case.batch["image"], train=True)[0]["logits"])
    entropy = -np.log(softmax(logits)[np.arange(8), np.asarray(LABELS[:8])]).mean()
    np.testing.assert_allclose(half["cross_entropy"], entropy, rtol=1e-5)
    assert half["distillation"] == whole["distillation"]


def test_a_temperature_that_is_not_above_zero_is_refused():
    case = kd(net=NET, temperature=0.0)
    state = start(case)
    with pytest.raises(InputError, match=r"^temperature=0.0 is not accepted"):
        case.method.step(state, case.batch, KEY)


def per_position(classes=CLASSES):
    """A net whose logits have the positions of its inputs, tokens `[B, T]` or pixels `[B, H, W, C]`."""

    def init(key, x):
        return {"w": jax.random.normal(key, (7 if x.ndim == 2 else x.shape[-1], classes))}, {}

    def apply(params, stats, x, *, train, key=None):
        return {"logits": params["w"][x] if x.ndim == 2 else x @ params["w"]}, stats

    return Net(init, apply)


@pytest.mark.parametrize("name", ["image", "tokens"])
def test_every_position_is_distilled_and_those_with_a_label_learn_from_it(name):
    shape = (4, 3, 2) if name == "image" else (4, 6)
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(*shape, 5)).astype(np.float32) if name == "image" else draw.integers(0, 7, shape)
    labels = draw.integers(-1, CLASSES, shape)
    where = np.ones(shape, bool)
    where[1:, ..., -1] = False
    net, batch = per_position(), {name: jnp.asarray(inputs), "label": jnp.asarray(labels)}
    given = {"teacher": Frozen(*net.init(jax.random.key(1), inputs), "t")}
    method = methods.kd(net, net, optax.sgd(0.5), temperature=2.0)
    state = method.init(KEY, batch, given)
    z, t = (
        np.float64(net.apply(p, {}, inputs, train=True)[0]["logits"])
        for p in (state.learner.params["student"], given["teacher"].params)
    )
    p, q = softmax(z / 2), softmax(t / 2)
    divergence, entropy = 4 * np.sum(q * np.log(q / p), -1), -np.log(softmax(z))
    entropy = np.take_along_axis(entropy, np.maximum(labels, 0)[..., None], -1)[..., 0]
    for here in (None, where):
        more = {} if here is None else {"where": jnp.asarray(here)}
        there = np.ones(shape, bool) if here is None else here
        _, metrics = jax.jit(method.step)(state, batch | more, KEY)
        np.testing.assert_allclose(metrics["distillation"], divergence[there].mean(), rtol=1e-4)
        np.testing.assert_allclose(metrics["cross_entropy"], entropy[there & (labels >= 0)].mean(), rtol=1e-4)
