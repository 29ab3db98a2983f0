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

RNG = np.random.default_rng(3)
STUDENT, TEACHER = RNG.normal(size=(2, 5, 7)).astype(np.float32) * 3
LABELS = np.array([0, 6, 3, 3, 1])
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)
PARTS = [(1.0, 0.0), (0.0, 1.0), (1.0, 8.0)]


def dkd(s, t, labels, alpha, beta, temperature):
    rows = []
    for row_s, row_t, y in zip(np.float64(s) / temperature, np.float64(t) / temperature, labels, strict=True):
        log_s, log_t = log_softmax(row_s), log_softmax(row_t)
        log_q_s, log_q_t = log_softmax(np.delete(row_s, y)), log_softmax(np.delete(row_t, y))
        log_rest_s, log_rest_t = (np.logaddexp.reduce(np.delete(x, y)) for x in (log_s, log_t))
        true = np.exp(log_t[y]) * (log_t[y] - log_s[y]) + np.exp(log_rest_t) * (log_rest_t - log_rest_s)
        rows.append(alpha * true + beta * (np.exp(log_q_t) * (log_q_t - log_q_s)).sum())
    return temperature**2 * np.array(rows)


def test_golden(golden):
    g = golden("mdistiller/dkd")

    def loss(s, alpha, beta):
        options = {"alpha": alpha, "beta": beta, "temperature": float(g["hp_temperature"])}
        return jnp.mean(losses.decoupled(s, g["logits_t"], g["labels"], **options))

    value, gradient = value_and_grad(loss)(g["logits_s"], float(g["hp_alpha"]), float(g["hp_beta"]))
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])
    same_value(loss(g["logits_s"], 1.0, 0.0), g["loss_tckd"])
    same_value(loss(g["logits_s"], 0.0, 1.0), g["loss_nckd"])


@pytest.mark.parametrize(("alpha", "beta"), PARTS)
@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_oracle(alpha, beta, temperature):
    loss = functools.partial(losses.decoupled, alpha=alpha, beta=beta, temperature=temperature)
    same_value(loss(STUDENT, TEACHER, LABELS), dkd(STUDENT, TEACHER, LABELS, alpha, beta, temperature), 2e-5)
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(loss(s, TEACHER, LABELS))))(STUDENT)
    same_gradient(gradient, differences(lambda s: dkd(s, TEACHER, LABELS, alpha, beta, temperature).sum(), STUDENT))


def test_parts_make_up_the_whole_divergence():
    true = losses.decoupled(STUDENT, TEACHER, LABELS, alpha=1, beta=0, temperature=1)
    others = losses.decoupled(STUDENT, TEACHER, LABELS, alpha=0, beta=1, temperature=1)
    rest = 1 - softmax(TEACHER)[np.arange(5), LABELS]
    whole = losses.kl_distillation(STUDENT, TEACHER, temperature=1)
    same_value(np.float64(true) + rest * np.float64(others), np.float64(whole), 2e-5)


def test_sure_student_keeps_its_digits():
    # The true class is far above the rest on both sides: 1 - p underflows, its logarithm must not.
    s, t = np.array([[200.0, 0, 1]], np.float32), np.array([[30.0, 2, 1]], np.float32)
    for alpha, beta in PARTS:
        value = losses.decoupled(s, t, np.array([0]), alpha=alpha, beta=beta, temperature=1.0)
        same_value(value, dkd(s, t, [0], alpha, beta, 1.0))


def test_stops_at_the_teacher():
    loss = functools.partial(losses.decoupled, alpha=1.0, beta=8.0, temperature=4.0)
    assert not jax.grad(lambda t: jnp.sum(loss(STUDENT, t, LABELS)))(TEACHER).any()


def test_label_out_of_range_shows():
    rows = losses.decoupled(STUDENT, TEACHER, np.array([-1, 7, 0, 6, 255]), alpha=0, beta=1, temperature=1)
    np.testing.assert_array_equal(np.isnan(rows), [True, True, False, False, True])


def test_options_under_vmap():
    def loss(a, b, t):
        return losses.decoupled(STUDENT, TEACHER, LABELS, alpha=a, beta=b, temperature=t)

    swept = jax.vmap(loss)(jnp.array([1.0, 0.5]), jnp.array([8.0, 2.0]), jnp.array([4.0, 1.0]))
    options = ((1.0, 8.0, 4.0), (0.5, 2.0, 1.0))
    same_value(swept, np.stack([dkd(STUDENT, TEACHER, LABELS, *o) for o in options]), 2e-5)


@pytest.mark.parametrize(("alpha", "beta"), PARTS)
def test_extreme_and_equal_logits(alpha, beta):
    both = value_and_grad(lambda s, t, y: jnp.sum(losses.decoupled(s, t, y, alpha=alpha, beta=beta, temperature=1.0)))
    for labels in (np.array([0, 1, 2, 2]), np.array([2, 2, 0, 1])):
        for student in (EXTREME, EXTREME[::-1].copy()):
            value, gradient = both(student, EXTREME, labels)
            same_value(value, dkd(student, EXTREME, labels, alpha, beta, 1.0).sum())
            assert jnp.all(jnp.isfinite(gradient))
        value, gradient = both(EXTREME, EXTREME, labels)
        assert value == 0
        assert jnp.max(jnp.abs(gradient)) < 1e-5


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda s, t: losses.decoupled(s, t, LABELS, alpha=1, beta=8, temperature=4.0), STUDENT, TEACHER)


def test_dkd_is_the_short_name():
    assert losses.dkd is losses.decoupled


X, Y = np.zeros((2, 3), np.float32), np.array([0, 1])
DKD = functools.partial(losses.decoupled, alpha=1.0, beta=8.0, temperature=4.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: DKD(X[0, 0], X[0, 0], Y), ["student", "()", "[..., K]"]),
        (lambda: DKD(X, X[:1], Y), ["teacher", "(1, 3)", "student", "(2, 3)"]),
        (lambda: DKD(X[:, :1], X[:, :1], Y), ["student", "(2, 1)", "at least 2"]),
        (lambda: DKD(X, X, Y[:1]), ["labels", "(1,)", "(2, 3)"]),
        (lambda: DKD(X, X, X), ["labels has shape (2, 3)", "class numbers [2]"]),
        (lambda: DKD(X, X, np.zeros(2)), ["labels", "float", "integer"]),
        (lambda: DKD(X, X, Y, alpha=-1), ["alpha=-1", "at least 0"]),
        (lambda: DKD(X, X, Y, beta=float("nan")), ["beta=nan"]),
        (lambda: DKD(X, X, Y, temperature=0), ["temperature=0", "above 0"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
