"""Losses of logits at any number of positions, some of which do not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import refused, same_gradient, same_value, value_and_grad

from kdjax import losses
from kdjax.core import InputError

RNG = np.random.default_rng(3)
STUDENT, TEACHER = RNG.normal(size=(2, 2, 3, 5)).astype(np.float32) * 2
LABELS = RNG.integers(0, 5, (2, 3))
SOFT = np.float32(RNG.dirichlet(np.ones(5), (2, 3)))
WHERE = np.array([[True, True, False], [True, False, False]])

# Of a student, a teacher, labels, distributions and what counts.
POSITIONS = {
    "kl_distillation": lambda s, t, y, q, w: losses.kl_distillation(s, t, temperature=2.0, **w),
    "cross_entropy": lambda s, t, y, q, w: losses.cross_entropy(s, y, smoothing=0.1, **w),
    "cross_entropy, distributions": lambda s, t, y, q, w: losses.cross_entropy(s, q, **w),
    "jensen_shannon": lambda s, t, y, q, w: losses.jensen_shannon(s, t, temperature=2.0, **w),
    "decoupled": lambda s, t, y, q, w: losses.decoupled(s, t, y, alpha=1.0, beta=8.0, temperature=4.0, **w),
    "logit_standardised": lambda s, t, y, q, w: losses.logit_standardised(s, t, temperature=2.0, **w),
    "reverse_kl": lambda s, t, y, q, w: losses.reverse_kl(s, t, **w),
    "generalised_jensen_shannon": lambda s, t, y, q, w: losses.generalised_jensen_shannon(s, t, beta=0.3, **w),
    "skewed_kl": lambda s, t, y, q, w: losses.skewed_kl(s, t, **w),
    "top_k_kl": lambda s, t, y, q, w: losses.top_k_kl(s, *jax.lax.top_k(t, 2), **w),
    "deit_hard": lambda s, t, y, q, w: losses.deit_hard(s, t, **w),
    "deit_soft": lambda s, t, y, q, w: losses.deit_soft(s, t, reduction="numel", **w),
    "weighted_soft_labels": lambda s, t, y, q, w: losses.weighted_soft_labels(s, t, y, temperature=2.0, **w),
    "unlikelihood": lambda s, t, y, q, w: losses.unlikelihood(s, y, **w),
    "one_hot_confidence": lambda s, t, y, q, w: losses.one_hot_confidence(s, **w),
    "logit_discrepancy": lambda s, t, y, q, w: losses.logit_discrepancy(s, t, **w),
    "decision_adversarial": lambda s, t, y, q, w: losses.decision_adversarial(s, t, **w),
    "divergence_from": lambda s, t, y, q, w: losses.divergence_from(s, q, temperature=2.0, **w),
    "symmetric_divergence": lambda s, t, y, q, w: losses.symmetric_divergence(s, t, temperature=2.0, **w),
    "cosub": lambda s, t, y, q, w: losses.cosub(s, t, q, **w),
    "focal": lambda s, t, y, q, w: losses.focal(s, y, **w),
    "cyclical_focal": lambda s, t, y, q, w: losses.cyclical_focal(s, y, easy=0.3, **w),
    "teacher_free": lambda s, t, y, q, w: losses.teacher_free(s, y, **w),
    "teacher_free, official": lambda s, t, y, q, w: losses.teacher_free(s, y, variant="official", **w),
    "confidence_penalty": lambda s, t, y, q, w: losses.confidence_penalty(s, **w),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_are_taken_one_by_one(name):
    def summed(s):
        each = POSITIONS[name](s, TEACHER.reshape(*s.shape), LABELS.reshape(s.shape[:-1]), SOFT.reshape(*s.shape), {})
        return jnp.sum(each**2), each

    (_, whole), gradient = value_and_grad(summed, has_aux=True)(STUDENT)
    (_, flat), right = value_and_grad(summed, has_aux=True)(STUDENT.reshape(6, 5))
    assert whole.shape == (2, 3)
    same_value(whole.reshape(6), np.float64(flat), 1e-6)
    same_gradient(gradient.reshape(6, 5), np.float64(right), 1e-6)
    alone = jax.jit(lambda s, t, y, q: POSITIONS[name](s, t, y, q, {}))(STUDENT[1, 2], TEACHER[1, 2], LABELS[1, 2], SOFT[1, 2])
    same_value(alone, np.float64(whole[1, 2]), 1e-5)


@pytest.mark.parametrize("name", POSITIONS)
def test_what_does_not_count_reaches_neither_value_nor_gradient(name):
    spoiled = [np.where(WHERE[..., None], x, np.float32(np.nan)) for x in (STUDENT, TEACHER, SOFT)]
    labels = np.where(WHERE, LABELS, -100)

    def of(s, t, y, q, w):
        def summed(s, t):
            each = POSITIONS[name](s, t, y, q, w)
            return jnp.sum(jnp.where(WHERE, each, 0)), each

        return value_and_grad(summed, argnums=(0, 1), has_aux=True)(s, t)

    (_, plain), right = of(STUDENT, TEACHER, LABELS, SOFT, {})
    (_, found), gradients = of(*spoiled[:2], labels, spoiled[2], {"where": WHERE})
    same_value(found, np.where(WHERE, np.float64(plain), 0.0), 1e-6)
    for gradient, expected in zip(gradients, right, strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("name", POSITIONS)
def test_where_is_one_bool_a_position(name):
    for where in (WHERE[0], WHERE.astype(np.float32), np.ones((2, 3, 5), bool)):
        refused(lambda w=where: POSITIONS[name](STUDENT, TEACHER, LABELS, SOFT, {"where": w}), ["where is", "bool[2, 3]"])


def test_labels_of_another_shape_are_refused():
    refused(lambda: losses.cross_entropy(STUDENT, LABELS[0]), ["labels has shape (3,)"])
    refused(lambda: losses.cross_entropy(STUDENT, LABELS * 1.0), ["integer class numbers"])
    refused(lambda: losses.cross_entropy(STUDENT, SOFT[..., :4]), ["labels has shape (2, 3, 4)"])


# With a temperature, each at its other defaults.
TEMPERED = {
    "kl_distillation": losses.kl_distillation,
    "jensen_shannon": losses.jensen_shannon,
    "decoupled": lambda s, t, **options: losses.decoupled(s, t, LABELS, **options),
    "logit_standardised": losses.logit_standardised,
    "reverse_kl": losses.reverse_kl,
    "generalised_jensen_shannon": losses.generalised_jensen_shannon,
    "skewed_kl": losses.skewed_kl,
    "top_k_kl": lambda s, t, **options: losses.top_k_kl(s, *jax.lax.top_k(t, 2), **options),
    "deit_soft": losses.deit_soft,
    "weighted_soft_labels": lambda s, t, **options: losses.weighted_soft_labels(s, t, LABELS, **options),
    "decision_adversarial": losses.decision_adversarial,
}


@pytest.mark.parametrize("name", TEMPERED)
def test_a_temperature_for_each_row(name):
    loss = jax.jit(lambda t: TEMPERED[name](STUDENT, TEACHER, temperature=t))
    warm, cold = loss(3.0), loss(0.5)
    for temperature in np.float32([[3, 0.5, 3], [0.5, 3, 0.5]]), np.float32([3, 0.5, 3]), np.float32([[3], [0.5]]):
        expected = np.where(np.broadcast_to(temperature, (2, 3)) == 3, warm, cold)
        same_value(loss(temperature), np.float64(expected))
        same_value(TEMPERED[name](STUDENT, TEACHER, temperature=temperature.tolist()), np.float64(expected))


def test_temperatures_that_do_not_fit_are_refused():
    for temperature in (np.ones(2), np.ones((1, 2, 3)), np.array([1.0, 0.0, 1.0]), jnp.array([jnp.nan] * 3)):
        refused(lambda t=temperature: losses.reverse_kl(STUDENT, TEACHER, temperature=t), ["temperature"])
    with pytest.raises(InputError, match=r"temperature has shape \(2,\)"):
        jax.jit(lambda t: losses.reverse_kl(STUDENT, TEACHER, temperature=t))(np.ones(2))


@pytest.mark.parametrize("name", ["cross_entropy", "unlikelihood", "decoupled", "weighted_soft_labels"])
def test_two_classes_may_be_labelled_by_bool(name):
    s, t, y = STUDENT[..., :2], TEACHER[..., :2], LABELS % 2
    expected = POSITIONS[name](s, t, y, None, {})
    for labels in (y == 1, (y == 1).tolist()):
        same_value(POSITIONS[name](s, t, labels, None, {}), np.float64(expected))
