import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    log_softmax,
    refused,
    same_gradient,
    same_value,
    softmax,
    value_and_grad,
)

from kdjax import losses

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, 5, 7)).astype(np.float32) * 3
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)
PAIRS = [(a, b) for a in (EXTREME, EXTREME[::-1].copy()) for b in (EXTREME,)]


def kl(s, t, temperature):
    log_s, log_t = log_softmax(np.float64(s) / temperature), log_softmax(np.float64(t) / temperature)
    return temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)


def js(s, t, temperature, clip, reverse):
    p, q = softmax(np.float64(t) / temperature), softmax(np.float64(s) / temperature)
    p, q, m = (np.clip(x, max(clip, 1e-300), 1 - clip) for x in (p, q, (p + q) / 2))
    if reverse:
        return 0.5 * (m * np.log(m / p)).sum(-1) + 0.5 * (m * np.log(m / q)).sum(-1)
    return 0.5 * (p * np.log(p / m)).sum(-1) + 0.5 * (q * np.log(q / m)).sum(-1)


@pytest.mark.parametrize("name", ["repdistiller/kd", "mdistiller/kd", "datafree/kldiv"])
def test_kl_golden(golden, name):
    g = golden(name)
    loss = functools.partial(losses.kl_distillation, temperature=float(g["hp_temperature"]))
    value, gradient = value_and_grad(lambda s: jnp.mean(loss(s, g["logits_t"])))(g["logits_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])
    if "grad_logits_t" in g:
        moved = jax.grad(lambda t: jnp.mean(loss(g["logits_s"], t, stop_teacher=False)))(g["logits_t"])
        same_gradient(moved, g["grad_logits_t"])


@pytest.mark.parametrize("temperature", [0.5, 1, 20.0])
def test_kl_oracle(temperature):
    same_value(losses.kl_distillation(STUDENT, TEACHER, temperature=temperature), kl(STUDENT, TEACHER, temperature), 2e-5)


def test_kl_stops_at_the_teacher():
    gradient = jax.grad(lambda t: jnp.sum(losses.kl_distillation(STUDENT, t, temperature=2.0)))(TEACHER)
    assert not gradient.any()


def test_kl_temperature_under_vmap():
    temperatures = jnp.array([1.0, 4.0, 20.0])
    swept = jax.vmap(lambda t: losses.kl_distillation(STUDENT, TEACHER, temperature=t))(temperatures)
    same_value(swept, np.stack([kl(STUDENT, TEACHER, t) for t in (1.0, 4.0, 20.0)]), 2e-5)


def test_kl_small_integer_temperature():
    whole = losses.kl_distillation(STUDENT, TEACHER, temperature=np.uint8(20))
    same_value(whole, kl(STUDENT, TEACHER, 20.0), 2e-5)


def test_jensen_shannon_golden(golden):
    g = golden("datafree/jsdiv")
    value, (grad_s, grad_t) = value_and_grad(
        lambda s, t: jnp.mean(losses.jensen_shannon(s, t, temperature=float(g["hp_temperature"]))), argnums=(0, 1)
    )(g["logits_s"], g["logits_t"])
    same_value(value, g["loss"])
    same_gradient(grad_s, g["grad_logits_s"])
    same_gradient(grad_t, g["grad_logits_t"])


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("clip", [0.01, 0.2, 0.0])
def test_jensen_shannon_oracle(clip, reverse):
    # Sharp enough for both ends of the clip to bind.
    loss = functools.partial(losses.jensen_shannon, temperature=0.5, clip=clip, reverse=reverse)
    value, gradient = value_and_grad(lambda s: jnp.sum(loss(s, TEACHER)))(STUDENT)
    same_value(loss(STUDENT, TEACHER), js(STUDENT, TEACHER, 0.5, clip, reverse), 2e-5)
    same_value(value, js(STUDENT, TEACHER, 0.5, clip, reverse).sum())
    same_gradient(gradient, differences(lambda s: js(s, TEACHER, 0.5, clip, reverse).sum(), STUDENT))


def test_jensen_shannon_textbook_is_symmetric_and_bounded():
    there, back = (
        losses.jensen_shannon(*pair, temperature=0.1, clip=0, reverse=False) for pair in ((STUDENT, TEACHER), (TEACHER, STUDENT))
    )
    np.testing.assert_allclose(there, back, rtol=1e-5)
    assert jnp.all((there >= 0) & (there <= np.log(2) + 1e-6))
    far = losses.jensen_shannon(EXTREME[:1], EXTREME[1:2], temperature=1.0, clip=0, reverse=False)
    same_value(far, np.array([np.log(2)]))


def test_jensen_shannon_gradient_sides():
    def moved(**options):
        loss = lambda t: jnp.sum(losses.jensen_shannon(STUDENT, t, temperature=3.0, **options))  # noqa: E731
        return jax.grad(loss)(TEACHER)

    assert moved().any()
    assert not moved(stop_teacher=True).any()


def test_jensen_shannon_options_under_vmap():
    swept = jax.vmap(lambda t, c: losses.jensen_shannon(STUDENT, TEACHER, temperature=t, clip=c))(
        jnp.array([1.0, 3.0]), jnp.array([0.0, 0.1])
    )
    same_value(swept, np.stack([js(STUDENT, TEACHER, 1.0, 0.0, True), js(STUDENT, TEACHER, 3.0, 0.1, True)]), 2e-5)


@pytest.mark.parametrize("smoothing", [0, 0.1, 1.0])
def test_cross_entropy_oracle(smoothing):
    labels = np.array([0, 6, 3, 3, 1])
    one_hot = np.eye(7)[labels]
    target = (1 - smoothing) * one_hot + smoothing / 7
    expected = -(target * log_softmax(STUDENT)).sum(-1)
    for given in (labels, labels.astype(np.uint8), one_hot.astype(np.float32)):
        value, gradient = value_and_grad(lambda z, given=given: jnp.sum(losses.cross_entropy(z, given, smoothing=smoothing)))(
            STUDENT
        )
        same_value(value, expected.sum())
        same_value(losses.cross_entropy(STUDENT, given, smoothing=smoothing), expected)
        same_gradient(gradient, softmax(STUDENT) - target)


def test_cross_entropy_golden_of_smoothing_over_others(golden):
    g = golden("self_kd_lib/label_smooth")
    loss = lambda z: jnp.mean(losses.cross_entropy(z, g["labels"], smoothing=g["hp_epsilon"], others=True))  # noqa: E731
    value, gradient = value_and_grad(loss)(g["logits_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])


@pytest.mark.parametrize("smoothing", [0, 0.1, 1.0])
def test_cross_entropy_smoothed_over_others_oracle(smoothing):
    labels = np.array([0, 6, 3, 3, 1])
    for given, one_hot in ((labels, np.eye(7)[labels]), (np.float32(softmax(TEACHER)), softmax(TEACHER))):
        target = (1 - smoothing) * one_hot + smoothing * (1 - one_hot) / 6
        options = {"smoothing": smoothing, "others": True}
        value, gradient = value_and_grad(lambda z, y=given, o=options: jnp.sum(losses.cross_entropy(z, y, **o)))(STUDENT)
        same_value(value, -(target * log_softmax(STUDENT)).sum())
        same_gradient(gradient, softmax(STUDENT) - target)


def test_cross_entropy_distributions():
    labels = softmax(TEACHER)
    same_value(losses.cross_entropy(STUDENT, labels), -(labels * log_softmax(STUDENT)).sum(-1))
    assert not jax.grad(lambda q: jnp.sum(losses.cross_entropy(STUDENT, q)))(jnp.asarray(labels)).any()


def test_cross_entropy_label_out_of_range_shows():
    rows = losses.cross_entropy(STUDENT, jnp.array([-1, 7, 0, 6, 255]))
    np.testing.assert_array_equal(np.isnan(rows), [True, True, False, False, True])


def test_cross_entropy_smoothing_under_vmap():
    labels = jnp.array([0, 6, 3, 3, 1])
    swept = jax.vmap(lambda e: losses.cross_entropy(STUDENT, labels, smoothing=e))(jnp.array([0.0, 0.3]))
    same_value(swept, np.stack([losses.cross_entropy(STUDENT, labels, smoothing=e) for e in (0.0, 0.3)]))


TWO_SIDED = {
    "kl": lambda s, t: losses.kl_distillation(s, t, temperature=1.0, stop_teacher=False),
    "kl_hot": lambda s, t: losses.kl_distillation(s, t, temperature=20.0, stop_teacher=False),
    "js": lambda s, t: losses.jensen_shannon(s, t, temperature=1.0),
    "js_unclipped": lambda s, t: losses.jensen_shannon(s, t, temperature=1.0, clip=0.0),
    "js_textbook": lambda s, t: losses.jensen_shannon(s, t, temperature=1.0, clip=0.0, reverse=False),
}


@pytest.mark.parametrize("name", TWO_SIDED)
def test_extreme_and_equal_logits(name):
    loss = TWO_SIDED[name]
    both = value_and_grad(lambda s, t: jnp.sum(loss(s, t)), argnums=(0, 1))
    for student, teacher in PAIRS:
        value, gradients = both(student, teacher)
        assert jnp.isfinite(value)
        assert all(jnp.all(jnp.isfinite(g)) for g in gradients)
    assert not loss(EXTREME, EXTREME).any()
    # float32 rounds the softmax at a point where the true gradient is 0; T^2 / T = 20 scales that rounding up.
    assert all(jnp.max(jnp.abs(g)) < 1e-5 for g in both(EXTREME, EXTREME)[1])


def test_extreme_values_are_right():
    for student, teacher in PAIRS:
        same_value(losses.kl_distillation(student, teacher, temperature=1.0), kl(student, teacher, 1.0))
    labels = np.array([2, 0, 1, 1])
    value, gradient = value_and_grad(lambda z: jnp.sum(losses.cross_entropy(z, labels, smoothing=0.1)))(EXTREME)
    target = 0.9 * np.eye(3)[labels] + 0.1 / 3
    same_value(value, -(target * log_softmax(EXTREME)).sum())
    same_gradient(gradient, softmax(EXTREME) - target)


def test_bfloat16():
    for name in TWO_SIDED:
        bfloat16_reduces_in_float32(TWO_SIDED[name], STUDENT, TEACHER)
    bfloat16_reduces_in_float32(losses.cross_entropy, STUDENT, softmax(TEACHER))
    bfloat16_reduces_in_float32(lambda z: losses.cross_entropy(z, jnp.arange(5), smoothing=0.1), STUDENT)


X = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.kl_distillation(X[0, 0], X[0, 0], temperature=1.0), ["student", "()", "[..., K]"]),
        (lambda: losses.kl_distillation(X, X[:1], temperature=1.0), ["teacher", "(1, 3)", "student", "(2, 3)"]),
        (lambda: losses.kl_distillation(X, X, temperature=0.0), ["temperature=0.0", "above 0"]),
        (lambda: losses.kl_distillation(X, X, temperature=float("nan")), ["temperature=nan"]),
        (lambda: losses.kl_distillation(X, X, temperature="4"), ["temperature='4'"]),
        (lambda: losses.cross_entropy(X, np.arange(2), others=1), ["others=1", "True or False"]),
        (lambda: losses.cross_entropy(X[:, :1], np.zeros(2, int), others=True), ["(2, 1)", "at least 2"]),
        (lambda: losses.kl_distillation(X, X, temperature=[1.0, 2.0, 3.0]), ["temperature has shape (3,)", "[2]"]),
        (lambda: losses.kl_distillation(X, X, temperature=1.0, stop_teacher=2), ["stop_teacher=2", "True or False"]),
        (lambda: jax.jit(lambda t: losses.kl_distillation(X, X, temperature=t))(jnp.ones(3)), ["temperature", "(3,)"]),
        (lambda: losses.jensen_shannon(X, X.T, temperature=1.0), ["teacher", "(3, 2)", "student", "(2, 3)"]),
        (lambda: losses.jensen_shannon(X, X, temperature=-1), ["temperature=-1"]),
        (lambda: losses.jensen_shannon(X, X, temperature=1, clip=0.5), ["clip=0.5"]),
        (lambda: losses.jensen_shannon(X, X, temperature=1, reverse="yes"), ["reverse='yes'"]),
        (lambda: losses.jensen_shannon(X, X, temperature=1, stop_teacher=None), ["stop_teacher=None"]),
        (lambda: losses.cross_entropy(X[0], np.array([0])), ["logits", "(3,)"]),
        (lambda: losses.cross_entropy(X, np.array([0])), ["labels", "(1,)", "logits", "(2, 3)"]),
        (lambda: losses.cross_entropy(X, np.zeros((2, 4))), ["labels", "(2, 4)", "logits", "(2, 3)"]),
        (lambda: losses.cross_entropy(X, np.array(1)), ["labels", "()"]),
        (lambda: losses.cross_entropy(X, np.array([0.0, 1.0])), ["labels", "float32", "integer"]),
        (lambda: losses.cross_entropy(X, np.array([0, 1]), smoothing=1.1), ["smoothing=1.1", "[0, 1]"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
