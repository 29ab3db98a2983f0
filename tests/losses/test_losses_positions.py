"""Losses of logits at any number of positions, some of which do not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(3)
STUDENT, TEACHER = RNG.normal(size=(2, 2, 3, 5)).astype(np.float32) * 2
LABELS = RNG.integers(0, 5, (2, 3))
SOFT = np.float32(RNG.dirichlet(np.ones(5), (2, 3)))
WHERE = np.array([[True, True, False], [True, False, False]])
VALUES, INDICES = (np.asarray(x) for x in jax.lax.top_k(TEACHER, 2))

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
}
WITHOUT_WHERE = {
    "deit_hard": lambda s, t, y, q, w: losses.deit_hard(s, t),
    "deit_soft": lambda s, t, y, q, w: losses.deit_soft(s, t, reduction="numel"),
    "weighted_soft_labels": lambda s, t, y, q, w: losses.weighted_soft_labels(s, t, y, temperature=2.0),
    "unlikelihood": lambda s, t, y, q, w: losses.unlikelihood(s, y),
    "one_hot_confidence": lambda s, t, y, q, w: losses.one_hot_confidence(s),
    "logit_discrepancy": lambda s, t, y, q, w: losses.logit_discrepancy(s, t),
    "divergence_from": lambda s, t, y, q, w: losses.divergence_from(s, q, temperature=2.0),
    "symmetric_divergence": lambda s, t, y, q, w: losses.symmetric_divergence(s, t, temperature=2.0),
    "cosub": lambda s, t, y, q, w: losses.cosub(s, t, q),
    "focal": lambda s, t, y, q, w: losses.focal(s, y),
    "cyclical_focal": lambda s, t, y, q, w: losses.cyclical_focal(s, y, easy=0.3),
    "teacher_free": lambda s, t, y, q, w: losses.teacher_free(s, y),
    "teacher_free, official": lambda s, t, y, q, w: losses.teacher_free(s, y, variant="official"),
    "confidence_penalty": lambda s, t, y, q, w: losses.confidence_penalty(s),
    "decision_adversarial": lambda s, t, y, q, w: losses.decision_adversarial(s, t),
}
ALL = POSITIONS | WITHOUT_WHERE


@pytest.mark.parametrize("name", ALL)
def test_positions_are_taken_one_by_one(name):
    def summed(s):
        each = ALL[name](s, TEACHER.reshape(*s.shape), LABELS.reshape(s.shape[:-1]), SOFT.reshape(*s.shape), {})
        return jnp.sum(each**2), each

    (_, whole), gradient = value_and_grad(summed, has_aux=True)(STUDENT)
    (_, flat), right = value_and_grad(summed, has_aux=True)(STUDENT.reshape(6, 5))
    assert whole.shape == (2, 3)
    same_value(whole.reshape(6), np.float64(flat), 1e-6)
    same_gradient(gradient.reshape(6, 5), np.float64(right), 1e-6)
    alone = jax.jit(lambda s, t, y, q: ALL[name](s, t, y, q, {}))(STUDENT[1, 2], TEACHER[1, 2], LABELS[1, 2], SOFT[1, 2])
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
