import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, log_softmax, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(5)
STUDENT, TEACHER = RNG.normal(size=(2, 5, 7)).astype(np.float32) * 3 + 1
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)


def score(z, ddof=1):
    z = np.float64(z)
    return (z - z.mean(-1, keepdims=True)) / (z.std(-1, ddof=ddof, keepdims=True) + 1e-7)


def lskd(s, t, temperature, ddof=1):
    log_s, log_t = log_softmax(score(s, ddof) / temperature), log_softmax(score(t, ddof) / temperature)
    return temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)


def test_golden(golden):
    g = golden("lskd/kd")
    value, gradient = value_and_grad(
        lambda s: jnp.mean(losses.logit_standardised(s, g["logits_t"], temperature=float(g["hp_temperature"])))
    )(g["logits_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])


def test_golden_with_decoupled(golden):
    g = golden("lskd/dkd")
    options = {name: float(g[f"hp_{name}"]) for name in ("alpha", "beta", "temperature")}
    teacher = losses.standardise(g["logits_t"])
    value, gradient = value_and_grad(lambda s: jnp.mean(losses.decoupled(losses.standardise(s), teacher, g["labels"], **options)))(
        g["logits_s"]
    )
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])


@pytest.mark.parametrize("ddof", [0, 1])
def test_standardise_oracle(ddof):
    weights = RNG.normal(size=STUDENT.shape)
    value, gradient = value_and_grad(lambda z: jnp.sum(losses.standardise(z, ddof=ddof) * weights.astype(np.float32)))(STUDENT)
    same_value(losses.standardise(STUDENT, ddof=ddof), score(STUDENT, ddof), 1e-4)
    same_value(value, (score(STUDENT, ddof) * weights).sum(), 1e-4)
    same_gradient(gradient, differences(lambda z: (score(z, ddof) * weights).sum(), STUDENT))


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_oracle(ddof, temperature):
    loss = functools.partial(losses.logit_standardised, temperature=temperature, ddof=ddof)
    same_value(loss(STUDENT, TEACHER), lskd(STUDENT, TEACHER, temperature, ddof), 2e-5)
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(loss(s, TEACHER))))(STUDENT)
    same_gradient(gradient, differences(lambda s: lskd(s, TEACHER, temperature, ddof).sum(), STUDENT))


def test_the_students_mean_and_size_are_free():
    moved = losses.logit_standardised(5 * STUDENT - 3, TEACHER, temperature=2.0)
    same_value(moved, lskd(STUDENT, TEACHER, 2.0), 1e-4)


def test_stops_at_the_teacher():
    assert not jax.grad(lambda t: jnp.sum(losses.logit_standardised(STUDENT, t, temperature=2.0)))(TEACHER).any()


def test_temperature_under_vmap():
    swept = jax.vmap(lambda t: losses.logit_standardised(STUDENT, TEACHER, temperature=t))(jnp.array([1.0, 3.0]))
    same_value(swept, np.stack([lskd(STUDENT, TEACHER, t) for t in (1.0, 3.0)]), 2e-5)


@pytest.mark.parametrize("large", [1e4, 12345.678, 0.1])
def test_equal_logits_become_zero(large):
    row = np.full((2, 7), large, np.float32)
    value, gradient = value_and_grad(lambda s, t: jnp.sum(losses.logit_standardised(s, t, temperature=2.0)))(row, row)
    assert not losses.standardise(row).any()
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("large", [0.0, 0.1, 12345.678])
def test_equal_logits_are_not_pulled(large):
    # Beside another teacher too: the 1e-7 alone would make a gradient of 1e7.
    row = np.full((5, 7), large, np.float32)
    row[1, 3] = np.nextafter(row[1, 3], np.float32(np.inf))  # equal to rounding
    value, gradient = value_and_grad(lambda s: jnp.sum(losses.logit_standardised(s, TEACHER, temperature=2.0)))(row)
    same_value(value, lskd(np.zeros((5, 7)), TEACHER, 2.0).sum())
    assert not gradient.any()


def test_extreme_and_equal_logits():
    both = value_and_grad(lambda s, t: jnp.sum(losses.logit_standardised(s, t, temperature=1.0)))
    for student in (EXTREME, EXTREME[::-1].copy()):
        value, gradient = both(student, EXTREME)
        same_value(value, lskd(student, EXTREME, 1.0).sum(), 1e-4)
        assert jnp.all(jnp.isfinite(gradient))
    value, gradient = both(STUDENT, STUDENT)
    assert value == 0
    assert jnp.max(jnp.abs(gradient)) < 1e-6


def test_bfloat16():
    loss = functools.partial(losses.logit_standardised, temperature=2.0)
    bfloat16_reduces_in_float32(loss, STUDENT, TEACHER)
    assert losses.standardise(jnp.ones((2, 3), jnp.bfloat16)).dtype == jnp.float32


X = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.standardise(X[0, 0]), ["logits", "()", "[..., K]"]),
        (lambda: losses.standardise(X[:, :1]), ["logits", "(2, 1)", "at least 2"]),
        (lambda: losses.standardise(X, ddof=2), ["ddof=2", "0 or 1"]),
        (lambda: losses.standardise(X, ddof=True), ["ddof=True", "0 or 1"]),
        (lambda: losses.logit_standardised(X, X[:1], temperature=1), ["teacher", "(1, 3)", "student", "(2, 3)"]),
        (lambda: losses.logit_standardised(X, X, temperature=0), ["temperature=0"]),
        (lambda: losses.logit_standardised(X, X, temperature=1, ddof=-1), ["ddof=-1"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
