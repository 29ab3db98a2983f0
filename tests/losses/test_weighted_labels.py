import jax
import jax.numpy as jnp
import numpy as np
from oracle import bfloat16_reduces_in_float32, differences, log_softmax, refused, same_gradient, same_value

from kdjax import losses

RNG = np.random.default_rng(6)
STUDENT, TEACHER = RNG.normal(size=(2, 6, 7)).astype(np.float32) * 3
LABELS = np.array([0, 6, 3, 3, 1, 2])


def weights(s, t, labels):
    ours, theirs = (-log_softmax(np.float64(z))[np.arange(len(labels)), labels] for z in (s, t))
    return 1 - np.exp(-ours / theirs)


def wsld(s, t, labels, temperature, weight=None):
    log_s, log_t = (log_softmax(np.float64(z) / temperature) for z in (s, t))
    weight = weights(s, t, labels) if weight is None else weight
    return weight * temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)


def loss(s, t=TEACHER, labels=LABELS, temperature=2.0):
    return losses.weighted_soft_labels(s, t, labels, temperature=temperature)


def test_oracle_with_the_weight_held():
    fixed = weights(STUDENT, TEACHER, LABELS)
    for temperature in (0.5, 2.0):
        same_value(loss(STUDENT, temperature=temperature), wsld(STUDENT, TEACHER, LABELS, temperature), 2e-5)
        gradient = jax.grad(lambda s, t=temperature: jnp.sum(loss(s, temperature=t)))(STUDENT)
        same_gradient(gradient, differences(lambda s, t=temperature: wsld(s, TEACHER, LABELS, t, fixed).sum(), STUDENT))
    assert not np.any(jax.grad(lambda t: jnp.sum(loss(STUDENT, t)))(TEACHER))


def test_a_student_that_is_surer_than_its_teacher_learns_little():
    hit = 20 * jax.nn.one_hot(LABELS, 7)
    plain = losses.kl_distillation(hit, TEACHER, temperature=2.0)
    assert np.all(loss(hit) < 1e-3 * plain)
    same_value(loss(STUDENT, hit), losses.kl_distillation(STUDENT, hit, temperature=2.0), 1e-5)  # the teacher is always right


def test_extreme_logits_stay_finite():
    sure = 1e4 * jax.nn.one_hot(LABELS, 7)
    for pair in ((sure, sure), (-sure, sure), (sure, -sure)):
        value, gradient = jax.value_and_grad(lambda s, t: jnp.sum(loss(s, t)))(*pair)
        assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_bfloat16():
    bfloat16_reduces_in_float32(loss, STUDENT, TEACHER)


def test_refusals():
    refused(lambda: loss(STUDENT[:, :5]), ["teacher"])
    refused(lambda: loss(STUDENT, labels=LABELS * 1.0), ["labels"])
    refused(lambda: loss(STUDENT, temperature=0.0), ["temperature"])
