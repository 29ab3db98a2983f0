import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    halves_equal_whole,
    refused,
    same_gradient,
    same_value,
    softmax,
    value_and_grad,
)

from kdjax import losses

RNG = np.random.default_rng(4)
STUDENT, TEACHER = RNG.normal(size=(2, 6, 5)).astype(np.float32) * 2
DENSE_S, DENSE_T = RNG.normal(size=(2, 2, 3, 2, 4)).astype(np.float32) * 2
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)
PLAIN = functools.partial(losses.dist, beta=1.0, gamma=1.0)


def apart(a, b):
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return 1 - ((a * b).sum(-1) / (norms + 1e-8)).mean()


def dist(s, t, beta, gamma, temperature=1.0):
    s, t = (softmax(np.float64(x).reshape(-1, x.shape[-1]) / temperature) for x in (s, t))
    return temperature**2 * (beta * apart(s, t) + gamma * apart(s.T, t.T))


@pytest.mark.parametrize("name", ["dist/dist", "dist/dist_dense"])
def test_golden(golden, name):
    g = golden(name)
    loss = functools.partial(losses.dist, beta=float(g["hp_beta"]), gamma=float(g["hp_gamma"]))
    value, gradient = value_and_grad(loss)(g["logits_s"], g["logits_t"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])


def test_golden_parts(golden):
    g = golden("dist/dist")
    same_value(losses.dist(g["logits_s"], g["logits_t"], beta=1, gamma=0), g["loss_inter"])
    same_value(losses.dist(g["logits_s"], g["logits_t"], beta=0, gamma=1), g["loss_intra"])


@pytest.mark.parametrize("options", [(1.0, 0.0), (0.0, 2.0, 4.0), (1.5, 0.5, 0.7)])
def test_oracle(options):
    named = dict(zip(("beta", "gamma", "temperature"), options, strict=False))
    for student, teacher in ((STUDENT, TEACHER), (DENSE_S, DENSE_T)):
        value, gradient = value_and_grad(functools.partial(losses.dist, **named))(student, teacher)
        same_value(value, dist(student, teacher, *options))
        expected = differences(lambda s, t=teacher: dist(s, t, *options), student)
        same_gradient(gradient, expected)


def test_positive_affine_maps_of_a_row_cost_nothing_between_classes():
    y = softmax(TEACHER)
    stretched = np.log(0.5 * y + 0.5 / y.shape[1]).astype(np.float32)
    assert abs(losses.dist(stretched, TEACHER, beta=1, gamma=0)) < 1e-6
    assert losses.dist(stretched[::-1].copy(), TEACHER, beta=1, gamma=0) > 0.1


def test_mask():
    where = np.array([[[1, 0], [1, 1], [0, 1]], [[0, 1], [1, 1], [1, 1]]], bool)
    spoiled = np.where(where[..., None], DENSE_S, np.float32(np.nan))
    value, gradient = value_and_grad(lambda s: PLAIN(s, DENSE_T, where=where))(spoiled)
    same_value(value, dist(DENSE_S[where], DENSE_T[where], 1.0, 1.0))
    expected = np.zeros_like(DENSE_S)
    expected[where] = differences(lambda s: dist(s, DENSE_T[where], 1.0, 1.0), DENSE_S[where])
    same_gradient(gradient, expected)
    value, gradient = value_and_grad(lambda s: PLAIN(s, DENSE_T, where=np.zeros((2, 3, 2), bool)))(DENSE_S)
    assert value == 0 and not gradient.any()


def test_stops_at_the_teacher():
    assert not jax.grad(lambda t: PLAIN(STUDENT, t))(TEACHER).any()


def test_halves_equal_whole():
    def loss(both, axis_name):
        return losses.dist(both[..., 0], both[..., 1], beta=1.0, gamma=2.0, temperature=3.0, axis_name=axis_name)

    halves_equal_whole(loss, np.stack([STUDENT, TEACHER], axis=-1))


def test_halves_with_unequal_masks_equal_the_whole():
    where = np.array([1, 0, 0, 1, 1, 1], bool)
    split = jax.vmap(lambda s, t, w: PLAIN(s, t, where=w, axis_name="data"), axis_name="data")
    halves = split(*(x.reshape(2, 3, *x.shape[1:]) for x in (STUDENT, TEACHER, where)))
    same_value(halves, np.full(2, dist(STUDENT[where], TEACHER[where], 1.0, 1.0)))


def test_options_under_vmap():
    swept = jax.vmap(lambda b, c, t: losses.dist(STUDENT, TEACHER, beta=b, gamma=c, temperature=t))(
        jnp.array([1.0, 0.0]), jnp.array([2.0, 1.0]), jnp.array([1.0, 4.0])
    )
    same_value(swept, np.array([dist(STUDENT, TEACHER, 1, 2, 1.0), dist(STUDENT, TEACHER, 0, 1, 4.0)]))


def test_extreme_and_equal_logits():
    both = value_and_grad(PLAIN)
    for student in (EXTREME, EXTREME[::-1].copy()):
        value, gradient = both(student, EXTREME)
        same_value(value, dist(student, EXTREME, 1.0, 1.0))
        assert jnp.all(jnp.isfinite(gradient))
    value, gradient = both(STUDENT, STUDENT)
    assert abs(value) < 1e-6
    assert jnp.max(jnp.abs(gradient)) < 1e-5
    # Nothing varies: neither side has a correlation to speak of.
    value, gradient = both(np.zeros((3, 4), np.float32), np.full((3, 4), 1e4, np.float32))
    same_value(value, np.float64(2))
    assert not gradient.any()


@pytest.mark.parametrize("classes", [5, 7, 100])
def test_what_does_not_vary_is_not_pulled(classes):
    # A softmax of equal logits sums to 1 up to rounding: what is left beside the 1e-8 must not count.
    student, teacher = RNG.normal(size=(2, 6, classes)).astype(np.float32)
    student[2] = 3.3
    both = value_and_grad(functools.partial(losses.dist, beta=1.0, gamma=0.0))
    value, gradient = both(student, teacher)
    same_value(value, dist(student, teacher, 1.0, 0.0))
    assert not gradient[2].any() and jnp.max(jnp.abs(gradient)) < 1
    # A class that is the same in all rows: all rows equal.
    value, gradient = value_and_grad(functools.partial(losses.dist, beta=0.0, gamma=1.0))(student[[1] * 6], teacher)
    same_value(value, np.float64(1))
    assert not gradient.any()


def test_bfloat16():
    bfloat16_reduces_in_float32(PLAIN, STUDENT, TEACHER)


X = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: PLAIN(X[0], X[0]), ["student", "(3,)"]),
        (lambda: PLAIN(X, X.T), ["teacher", "(3, 2)", "student", "(2, 3)"]),
        (lambda: PLAIN(X, X, where=np.ones(3)), ["where is", "[3]: expected bool[2]"]),
        (lambda: PLAIN(X, X, temperature=-1), ["temperature=-1"]),
        (lambda: PLAIN(X, X, beta=-1.0), ["beta=-1.0", "at least 0"]),
        (lambda: PLAIN(X, X, gamma="1"), ["gamma='1'"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
