"""Where teacher and student differ, against NumPy in float64; the authors' values are in test_data_free_objectives.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, log_softmax, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(6)
STUDENT, TEACHER = (RNG.normal(size=(2, 6, 5)) * 2).astype(np.float32)
STUDENT[:3] += 5 * np.eye(5, dtype=np.float32)[TEACHER[:3].argmax(1)]  # the first three agree


def discrepancy(s, t):
    return np.abs(np.float64(s) - np.float64(t)).mean(-1)


def adversarial(s, t, temperature=1.0):
    s, t = np.float64(s), np.float64(t)
    log_s, log_t = log_softmax(s / temperature), log_softmax(t / temperature)
    apart = temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)
    return np.where(s.argmax(-1) == t.argmax(-1), -apart, 0.0)


LOSSES = {
    "logit_discrepancy": (losses.logit_discrepancy, discrepancy),
    "decision_adversarial": (losses.decision_adversarial, adversarial),
    "decision_adversarial, T = 3": (
        lambda s, t: losses.decision_adversarial(s, t, temperature=3.0),
        lambda s, t: adversarial(s, t, 3.0),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_oracle_on_both_sides(name):
    loss, expected = LOSSES[name]
    both = value_and_grad(lambda s, t: (jnp.sum(loss(s, t)), loss(s, t)), argnums=(0, 1), has_aux=True)
    (_, rows), gradients = both(STUDENT, TEACHER)
    same_value(rows, expected(STUDENT, TEACHER))
    same_gradient(gradients[0], differences(lambda s: expected(s, TEACHER).sum(), STUDENT))
    same_gradient(gradients[1], differences(lambda t: expected(STUDENT, t).sum(), TEACHER))


def test_some_agree_and_some_do_not():
    rows = losses.decision_adversarial(STUDENT, TEACHER)
    assert (rows[:3] < 0).all() and not rows[3:].all()
    gradient = jax.grad(lambda t: jnp.sum(losses.decision_adversarial(STUDENT, t)))(TEACHER)
    assert ((rows == 0) == (gradient == 0).all(1)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_equal_and_extreme_logits(name):
    loss, expected = LOSSES[name]
    both = value_and_grad(lambda s, t: (jnp.sum(loss(s, t)), loss(s, t)), argnums=(0, 1), has_aux=True)
    (_, rows), gradients = both(STUDENT, STUDENT)
    assert not rows.any() and max(jnp.abs(g).max() for g in gradients) < 1e-6
    extreme = np.float32([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4]])
    (_, rows), gradients = both(extreme, extreme[[0, 2, 1]])
    same_value(rows, expected(extreme, extreme[[0, 2, 1]]), 1e-4)
    assert all(jnp.isfinite(g).all() for g in gradients)


def test_a_row_that_disagrees_without_end_moves_nothing():
    student, teacher = np.float32([[3, -np.inf, 0], [1, 0, 0]]), np.float32([[0, 3, 0], [2, 1, 0]])
    value, gradients = value_and_grad(lambda s, t: jnp.sum(losses.decision_adversarial(s, t)), argnums=(0, 1))(student, teacher)
    same_value(value, adversarial(student[1:], teacher[1:]).sum())
    assert all(jnp.isfinite(g).all() and not g[0].any() and g[1].any() for g in gradients)


def test_masked_by_one_side_alone_is_without_end():
    assert losses.logit_discrepancy([[1.0, -jnp.inf]], [[1.0, 0.0]])[0] == jnp.inf


@pytest.mark.parametrize("bound", [0.7, 3])
def test_bounded(bound):
    term = np.float32([-1, 0, 0.5, 0.7, 2, 5])
    (_, rows), gradient = value_and_grad(lambda x: (jnp.sum(b := losses.bounded(x, bound=bound)), b), has_aux=True)(term)
    same_value(rows, np.minimum(np.float64(term), np.float64(np.float32(bound))))
    assert gradient.tolist() == (term <= np.float32(bound)).astype(float).tolist()  # on the bound the whole gradient


def test_a_bound_is_swept_and_shows_what_is_no_number():
    swept = jax.vmap(lambda b: losses.bounded(jnp.array([1.0, jnp.inf]), bound=b))(jnp.array([0.5, 2.0]))
    assert swept.tolist() == [[0.5, 0.5], [1.0, 2.0]]
    assert jnp.isnan(losses.bounded([jnp.nan], bound=1))[0]


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16(name):
    bfloat16_reduces_in_float32(LOSSES[name][0], STUDENT, TEACHER)
    assert losses.bounded(jnp.ones(2, jnp.bfloat16), bound=0.3).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.logit_discrepancy(STUDENT, TEACHER[:, :3]), ["teacher", "(6, 3)", "student", "(6, 5)"]),
        (lambda: losses.decision_adversarial(STUDENT[0], TEACHER), ["teacher", "(6, 5)", "student", "(5,)"]),
        (lambda: losses.decision_adversarial(STUDENT, TEACHER, temperature=0), ["temperature=0", "above 0"]),
        (lambda: losses.bounded(STUDENT, bound=-1.0), ["bound=-1.0", "above 0"]),
        (lambda: losses.bounded(STUDENT, bound=np.inf), ["bound=inf", "above 0"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
