import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import differences, refused, same_gradient, same_value, softmax, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(6)
STUDENT, TEACHER = RNG.normal(size=(2, 2, 3, 7)).astype(np.float32) * 2
K, T = 3, 2.0
VALUES, INDICES = (np.asarray(x) for x in jax.lax.top_k(TEACHER, K))


def rest_of(teacher, temperature=T):
    """`log sum exp` of what is not among the largest."""
    lowest = np.sort(np.float64(teacher), -1)[..., :-K] / temperature
    return np.float32(np.log(np.exp(lowest).sum(-1)))


def expected(student, tail):
    q = softmax(np.float64(student) / T)
    ours = np.take_along_axis(q, INDICES, -1)
    theirs = np.exp(np.float64(VALUES) / T)
    mass = np.exp(np.float64(rest_of(TEACHER))) if tail else np.zeros(theirs.shape[:-1])
    p, r = theirs / (theirs.sum(-1) + mass)[..., None], mass / (theirs.sum(-1) + mass)
    found = np.sum(p * np.log(p / ours), -1)
    return T**2 * (found + (r * np.log(r / (1 - ours.sum(-1))) if tail else 0))


@pytest.mark.parametrize("tail", [True, False])
def test_values_and_gradients(tail):
    rest = rest_of(TEACHER) if tail else None

    def summed(s, values):
        each = losses.top_k_kl(s, values, INDICES, temperature=T, rest=rest)
        return jnp.sum(each), each

    (_, each), (of_student, of_values) = value_and_grad(summed, argnums=(0, 1), has_aux=True)(STUDENT, VALUES)
    same_value(each, expected(STUDENT, tail), 2e-5)
    same_gradient(of_student, differences(lambda s: expected(s, tail).sum(), STUDENT))
    assert not of_values.any()


def test_all_logits_give_the_whole_divergence_and_some_give_less():
    whole = losses.kl_distillation(STUDENT, TEACHER, temperature=T)
    values, indices = jax.lax.top_k(TEACHER, 7)
    same_value(losses.top_k_kl(STUDENT, values, indices, temperature=T), np.float64(whole), 2e-5)
    none = np.full(TEACHER.shape[:-1], -np.inf, np.float32)
    same_value(losses.top_k_kl(STUDENT, values, indices, temperature=T, rest=none), np.float64(whole), 2e-5)
    assert (losses.top_k_kl(STUDENT, VALUES, INDICES, temperature=T, rest=rest_of(TEACHER)) < whole).all()


def test_positions_that_do_not_count():
    where = np.array([[True, False, True], [False, True, True]])
    spoil = lambda x: np.where(where.reshape(*where.shape, *[1] * (x.ndim - 2)), x, np.float32(np.nan))  # noqa: E731

    def summed(s, values, rest, **options):
        each = losses.top_k_kl(s, values, INDICES, temperature=T, rest=rest, **options)
        return jnp.sum(jnp.where(where, each, 0)), each

    (_, plain), right = value_and_grad(summed, has_aux=True)(STUDENT, VALUES, rest_of(TEACHER))
    hidden = spoil(STUDENT), spoil(VALUES), spoil(rest_of(TEACHER))
    (_, found), gradient = value_and_grad(lambda *xs: summed(*xs, where=where), has_aux=True)(*hidden)
    same_value(found, np.where(where, np.float64(plain), 0), 1e-6)
    same_gradient(gradient, np.float64(right), 1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.top_k_kl(STUDENT, VALUES, INDICES * 1.0), ["indices has type float", "integer"]),
        (lambda: losses.top_k_kl(STUDENT, VALUES[0], INDICES), ["values has shape (3, 3)"]),
        (lambda: losses.top_k_kl(STUDENT, VALUES, INDICES[..., :2]), ["indices has shape (2, 3, 2)"]),
        (lambda: losses.top_k_kl(STUDENT, VALUES, INDICES, rest=np.zeros(3)), ["rest has shape (3,)"]),
        (lambda: losses.top_k_kl(STUDENT, VALUES, INDICES, temperature=-1), ["temperature=-1"]),
    ],
)
def test_refusals(call, words):
    refused(call, words)
