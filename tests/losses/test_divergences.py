import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, softmax, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(5)
STUDENT, TEACHER = RNG.normal(size=(2, 4, 6)).astype(np.float32) * 2


def kl(p, q):
    return np.sum(p * (np.log(p) - np.log(q)), -1)


def reverse(s, t, temperature=1.0):
    return kl(softmax(s / temperature), softmax(t / temperature))


def generalised(s, t, beta, temperature=1.0):
    p, q = softmax(t / temperature), softmax(s / temperature)
    if beta in (0, 1):
        return kl(p, q) if beta == 0 else kl(q, p)
    m = beta * p + (1 - beta) * q
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


def skewed(s, t, skew, turned=False, temperature=1.0):
    p, q = softmax(t / temperature), softmax(s / temperature)
    front, back = (q, p) if turned else (p, q)
    return kl(front, skew * front + (1 - skew) * back)


CASES = {
    "reverse": (lambda s, t: losses.reverse_kl(s, t), lambda s, t: reverse(s, t)),
    "reverse, softened": (lambda s, t: losses.reverse_kl(s, t, temperature=3.0), lambda s, t: reverse(s, t, 3.0)),
    **{
        f"generalised, {beta}": (
            lambda s, t, beta=beta: losses.generalised_jensen_shannon(s, t, beta=beta, temperature=2.0),
            lambda s, t, beta=beta: generalised(s, t, beta, 2.0),
        )
        for beta in (0, 0.0, 0.1, 0.5, 0.9, 1.0)
    },
    **{
        f"skewed, {skew}, {turned}": (
            lambda s, t, skew=skew, turned=turned: losses.skewed_kl(s, t, skew=skew, reverse=turned, temperature=2.0),
            lambda s, t, skew=skew, turned=turned: skewed(s, t, skew, turned, 2.0),
        )
        for skew in (0.0, 0.1, 0.7)
        for turned in (False, True)
    },
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    ours, theirs = CASES[name]

    def summed(s, t):
        each = ours(s, t)
        return jnp.sum(each), each

    (_, each), (of_student, of_teacher) = value_and_grad(summed, argnums=(0, 1), has_aux=True)(STUDENT, TEACHER)
    same_value(each, theirs(np.float64(STUDENT), np.float64(TEACHER)), 2e-5)
    same_gradient(of_student, differences(lambda s: theirs(s, np.float64(TEACHER)).sum(), STUDENT))
    assert not of_teacher.any()


def test_a_traced_beta_reaches_both_ends():
    betas = jnp.array([0.0, 0.3, 1.0])
    found = jax.jit(jax.vmap(lambda b: losses.generalised_jensen_shannon(STUDENT, TEACHER, beta=b)))(betas)
    expected = [generalised(np.float64(STUDENT), np.float64(TEACHER), float(b)) for b in (0.0, 0.3, 1.0)]
    same_value(found, np.stack(expected), 2e-5)
    gradient = jax.jit(jax.grad(lambda b: jnp.sum(losses.generalised_jensen_shannon(STUDENT, TEACHER, beta=b))))(1.0)
    assert np.isfinite(gradient)


def test_forward_is_kl_distillation():
    expected = losses.kl_distillation(STUDENT, TEACHER, temperature=2.0) / 4
    same_value(losses.generalised_jensen_shannon(STUDENT, TEACHER, beta=0, temperature=2.0), np.float64(expected))
    same_value(losses.skewed_kl(STUDENT, TEACHER, skew=0.0, temperature=2.0), np.float64(expected))


@pytest.mark.parametrize("name", CASES)
def test_masked_classes_count_nothing(name):
    ours, _ = CASES[name]
    both = value_and_grad(lambda s, t: jnp.sum(ours(s, t)))
    expected, right = both(STUDENT, TEACHER)
    value, gradient = both(*(np.insert(z, 2, -np.inf, axis=1) for z in (STUDENT, TEACHER)))
    same_value(value, np.float64(expected))
    assert not gradient[:, 2].any()
    same_gradient(np.delete(gradient, 2, 1), np.float64(right))


def test_far_apart_they_stay_bounded():
    one, other = np.float32([[1e4, 0, 0]]), np.float32([[0, 1e4, 0]])
    for skew in (0.1, 0.5):
        value, gradient = value_and_grad(lambda s, skew=skew: jnp.sum(losses.skewed_kl(s, other, skew=skew)))(one)
        same_value(value, np.float64(-np.log(skew)), 1e-5)
        assert np.isfinite(gradient).all()
    value, gradient = value_and_grad(lambda s: jnp.sum(losses.generalised_jensen_shannon(s, other)))(one)
    same_value(value, np.log(2.0), 1e-5)
    assert np.isfinite(gradient).all()


def test_sums_run_in_float32():
    bfloat16_reduces_in_float32(losses.reverse_kl, STUDENT, TEACHER)
    bfloat16_reduces_in_float32(losses.generalised_jensen_shannon, STUDENT, TEACHER)
    bfloat16_reduces_in_float32(losses.skewed_kl, STUDENT, TEACHER)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.reverse_kl(STUDENT, TEACHER[:, :5]), ["teacher has shape (4, 5)"]),
        (lambda: losses.reverse_kl(STUDENT, TEACHER, temperature=0.0), ["temperature=0.0"]),
        (lambda: losses.generalised_jensen_shannon(STUDENT, TEACHER, beta=1.5), ["beta=1.5", "[0, 1]"]),
        (lambda: losses.skewed_kl(STUDENT, TEACHER, skew=1.0), ["skew=1.0", "[0, 1)"]),
        (lambda: losses.skewed_kl(STUDENT, TEACHER, reverse=1), ["reverse=1"]),
    ],
)
def test_refusals(call, words):
    refused(call, words)
