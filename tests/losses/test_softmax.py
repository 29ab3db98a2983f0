"""Masked classes (logits of -inf) and probabilities of 0, in every loss of logits: 0 log 0 = 0."""

import inspect
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import same_gradient, same_value, value_and_grad

from kdjax import losses
from kdjax.evaluate import divergence
from kdjax.losses._softmax import log_sum, tempered, times_log

RNG = np.random.default_rng(7)
STUDENT, TEACHER = RNG.normal(size=(2, 6, 4)).astype(np.float32) * 2
LABELS = np.array([0, 1, 2, 3, 1, 0])
SOFT = np.float32([[0.5, 0.5, 0, 0], [1, 0, 0, 0], [0, 0, 0.25, 0.75], [0, 1, 0, 0], [0.25] * 4, [0, 0.5, 0, 0.5]])
HIDDEN = -np.inf
MASKED = tuple(np.insert(z, 2, HIDDEN, axis=1) for z in (STUDENT, TEACHER))
SHOWN = [0, 1, 3, 4]
MOVED = np.array([0, 1, 3, 4])[LABELS]  # the labels among the five

# Of a student, a teacher and labels: scalars that an added masked class does not change.
SAME = {
    "kl_distillation": lambda s, t, y: jnp.sum(losses.kl_distillation(s, t, temperature=2.0, stop_teacher=False)),
    "cross_entropy": lambda s, t, y: jnp.sum(losses.cross_entropy(s, y)),
    "cross_entropy, distributions": lambda s, t, y: jnp.sum(
        losses.cross_entropy(s, SOFT if s.shape[1] == 4 else np.insert(SOFT, 2, 0, axis=1))
    ),
    "jensen_shannon": lambda s, t, y: jnp.sum(losses.jensen_shannon(s, t, temperature=1.0)),
    "jensen_shannon, unclipped": lambda s, t, y: jnp.sum(losses.jensen_shannon(s, t, temperature=1.0, clip=0)),
    "jensen_shannon, textbook": lambda s, t, y: jnp.sum(losses.jensen_shannon(s, t, temperature=1.0, clip=0, reverse=False)),
    "decoupled": lambda s, t, y: jnp.sum(losses.decoupled(s, t, y, alpha=1.0, beta=8.0, temperature=4.0)),
    "deit_hard": lambda s, t, y: jnp.sum(losses.deit_hard(s, t)),
    "deit_soft": lambda s, t, y: jnp.sum(losses.deit_soft(s, t)),
    "weighted_soft_labels": lambda s, t, y: jnp.sum(losses.weighted_soft_labels(s, t, y, temperature=2.0)),
    "unlikelihood": lambda s, t, y: jnp.sum(losses.unlikelihood(s, y)),
    "logit_standardised": lambda s, t, y: jnp.sum(losses.logit_standardised(s, t, temperature=2.0)),
    "standardise": lambda s, t, y: jnp.sum(jnp.where(jnp.isneginf(s), 0.0, losses.standardise(s)) ** 3),
    "one_hot_confidence": lambda s, t, y: jnp.sum(losses.one_hot_confidence(s)),
    "class_balance": lambda s, t, y: losses.class_balance(s, temperature=2.0),
    "logit_discrepancy": lambda s, t, y: jnp.sum(losses.logit_discrepancy(s, t)),
    "decision_adversarial": lambda s, t, y: jnp.sum(losses.decision_adversarial(s, t, temperature=2.0)),
    "hierarchical_distillation": lambda s, t, y: jnp.sum(losses.hierarchical_distillation([s, 2 * s], [t, t])),
    "joint_cross_entropy": lambda s, t, y: jnp.sum(losses.joint_cross_entropy([s, 2 * s], y)),
    "batch_correlation": lambda s, t, y: losses.batch_correlation(s, t, temperature=2.0),
    "class_correlation": lambda s, t, y: s.shape[1] * losses.class_correlation(s, t, temperature=2.0),
    "reverse_kl": lambda s, t, y: jnp.sum(losses.reverse_kl(s, t, temperature=2.0)),
    "generalised_jensen_shannon": lambda s, t, y: jnp.sum(losses.generalised_jensen_shannon(s, t)),
    "skewed_kl": lambda s, t, y: jnp.sum(losses.skewed_kl(s, t)),
    "top_k_kl": lambda s, t, y: jnp.sum(losses.top_k_kl(s, *jax.lax.top_k(t, 2), temperature=2.0)),
    "dino": lambda s, t, y: losses.dino(
        jnp.stack([s, 2 * s]), jnp.stack([t, t]), jnp.zeros(s.shape[1]), student_temperature=1.0, teacher_temperature=0.5
    ),
    "dino_centre": lambda s, t, y: jnp.sum(
        jnp.where(jnp.isneginf(s[0]), 0.0, losses.dino_centre(jnp.zeros(s.shape[1]), s[None], momentum=0.5))
    ),
    "twist": lambda s, t, y: losses.twist(s, t),
    "twist_teacher": lambda s, t, y: losses.twist_teacher(jnp.stack([s, 2 * s]), jnp.stack([t, t])),
    "self_label": lambda s, t, y: losses.self_label(t, s, threshold=0.1),
    "uslt_global": lambda s, t, y: losses.uslt_global(t, s, threshold=0.1),
    "uslt_local": lambda s, t, y: jnp.sum(losses.uslt_local(s, t, jnp.full(s.shape[1], 0.25))),
    "uslt_mean": lambda s, t, y: jnp.sum(losses.uslt_mean(jnp.where(jnp.isneginf(s[0]), 0.0, 0.25), t) ** 2),
    "divergence_from": lambda s, t, y: jnp.sum(losses.divergence_from(s, jax.nn.softmax(t), temperature=2.0)),
    "bake_targets": lambda s, t, y: jnp.sum(losses.bake_targets(TEACHER, s) ** 2),
    "focal": lambda s, t, y: jnp.sum(losses.focal(s, y)),
    "cyclical_focal": lambda s, t, y: jnp.sum(losses.cyclical_focal(s, y, easy=0.5, smoothing=0.0)),
    "teacher_free": lambda s, t, y: jnp.sum(losses.teacher_free(s, y, correct=1.0)),
    "confidence_penalty": lambda s, t, y: jnp.sum(losses.confidence_penalty(s)),
    "symmetric_divergence": lambda s, t, y: jnp.sum(losses.symmetric_divergence(s, t, temperature=2.0)),
    "min_logit": lambda s, t, y: jnp.sum(jax.nn.softmax(losses.min_logit(jnp.stack([s, t]), y)) ** 2),
    "mixskd_terms": lambda s, t, y: sum(
        jnp.sum(x)
        for x in losses.mixskd_terms(
            [s, t], [jnp.ones((6, 1, 1, 2))] * 2, s[:3] + 1, 2 * t[:3], y[:3], jnp.array([2, 0, 1]), 0.3
        ).values()
    ),
    "evaluate.divergence": lambda s, t, y: jnp.sum(divergence(s, t)),
}
# Those that count classes: the masked one is one of them.
COUNTED = {
    "multi_level": lambda s, t, y: losses.multi_level(s, s, t, t),
    "multi_level, per row": lambda s, t, y: losses.multi_level(s, s, t, t, per_row=True),
    "dist": lambda s, t, y: losses.dist(s, t, beta=1.0, gamma=1.0, temperature=4.0),
    "cosub": lambda s, t, y: jnp.sum(losses.cosub(s, t, jax.nn.one_hot(y, s.shape[1]))),
    "watermark_score": lambda s, t, y: jnp.sum(losses.watermark_score(s, KEY)),
}
KEY = (1 - np.eye(5)) * np.float32(RNG.dirichlet(np.ones(5), 5))


@pytest.mark.parametrize("name", SAME)
def test_a_masked_class_is_as_if_it_were_not_there(name):
    both = value_and_grad(SAME[name], argnums=(0, 1))
    expected, plain = both(STUDENT, TEACHER, LABELS)
    value, gradients = both(*MASKED, MOVED)
    same_value(value, np.float64(expected), 2e-5)
    for gradient, right in zip(gradients, plain, strict=True):
        assert not gradient[:, 2].any()
        same_gradient(gradient[:, SHOWN], np.float64(right))


@pytest.mark.parametrize("name", COUNTED)
def test_a_masked_class_is_one_of_probability_zero(name):
    both = value_and_grad(COUNTED[name], argnums=(0, 1))
    value, gradients = both(*MASKED, MOVED)
    low = tuple(np.where(np.isneginf(z), np.float32(-1e4), z) for z in MASKED)  # whose probability rounds to 0
    expected, plain = both(*low, MOVED)
    same_value(value, np.float64(expected))
    for gradient, right in zip(gradients, plain, strict=True):
        assert not gradient[:, 2].any()
        np.testing.assert_allclose(gradient, right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["kl_distillation", "decoupled", "deit_soft", "weighted_soft_labels", "evaluate.divergence"])
def test_only_the_teacher_gives_nothing(name):
    # Nothing is lost where the student gives little to what the teacher has masked: the limit of -1e4.
    both = value_and_grad(SAME[name])
    teacher, low = MASKED[1], np.where(np.isneginf(MASKED[1]), np.float32(-1e4), MASKED[1])
    student = np.insert(STUDENT, 2, 0.5, axis=1)
    expected, right = both(student, low, MOVED)
    value, gradient = both(student, teacher, MOVED)
    same_value(value, np.float64(expected))
    same_gradient(gradient, np.float64(right))


def test_the_values_are_right():
    same_value(losses.cross_entropy([[1, 2, -jnp.inf]], jnp.array([1])), np.array([np.log1p(np.exp(-1))]))
    with np.errstate(divide="ignore"):
        teacher = np.log([[0.5, 0.5, 0]])
    p = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    expected = (0.5 * np.log(0.5 / p[:2])).sum()
    same_value(losses.kl_distillation([[1, 2, 3]], teacher, temperature=1), np.array([expected]))
    # A teacher of old classes beside the label of a new one: all that the student gives to it is too much.
    old, new = np.float32([[2, 1, -np.inf]]), np.float32([[1, 0, 3]])
    q = np.exp(new[0]) / np.exp(new[0]).sum()
    value, gradient = value_and_grad(lambda s: losses.decoupled(s, old, np.array([2]), alpha=1.0, beta=0.0, temperature=1.0)[0])(
        new
    )
    same_value(value, -np.log(1 - q[2]))
    assert jnp.all(jnp.isfinite(gradient)) and gradient[0, 2] > 0


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda s: losses.decoupled(s, s, np.array([0]), alpha=1.0, beta=1.0, temperature=1.0), 0.0),
        (lambda s: losses.unlikelihood(s, np.array([0])), -np.log(1e-8)),
        (lambda s: losses.weighted_soft_labels(s, s, np.array([1]), temperature=1.0), 0.0),
        (lambda s: losses.standardise(s)[:, 0], 0.0),
    ],
)
def test_all_but_one_class_masked(loss, expected):
    value, gradient = value_and_grad(lambda s: jnp.sum(loss(s)))(np.float32([[3, -np.inf, -np.inf]]))
    same_value(value, np.float64(expected))
    assert not gradient.any()


def test_what_is_impossible_is_infinite_and_what_is_no_number_shows():
    assert losses.kl_distillation([[1, -jnp.inf]], [[1, 1.0]], temperature=1) == jnp.inf
    assert losses.cross_entropy([[1, -jnp.inf]], jnp.array([1])) == jnp.inf
    assert losses.cross_entropy([[1, -jnp.inf]], jnp.array([0]), smoothing=0.1) == jnp.inf
    for pair in ([[1, jnp.nan]], [[1, -jnp.inf]]), ([[1, 1.0]], [[jnp.nan, -jnp.inf]]):
        assert jnp.isnan(losses.kl_distillation(*pair, temperature=1))[0]


def test_a_trained_temperature_has_a_gradient():
    gradient = jax.grad(lambda t: jnp.sum(losses.kl_distillation(*MASKED, temperature=t)))(2.0)
    plain = jax.grad(lambda t: jnp.sum(losses.kl_distillation(STUDENT, TEACHER, temperature=t)))(2.0)
    same_value(gradient, np.float64(plain), 1e-4)


def test_pieces_at_zero():
    for f in (partial(tempered, temperature=2.0), log_sum, lambda x: times_log(jnp.exp(x), x)):
        gradient = jax.grad(lambda x, f=f: jnp.sum(jnp.where(jnp.isneginf(f(x)), 0.0, f(x))))(jnp.full((1, 2), -jnp.inf))
        assert not gradient.any()


def test_every_loss_of_logits_is_above():
    of_logits = {name for name in losses.__all__ if re.search(r"^ {2}\w+: .*logits", inspect.getdoc(getattr(losses, name)), re.M)}
    above = {name.split(",")[0] for name in SAME | COUNTED}
    assert {getattr(losses, name) for name in of_logits} <= {getattr(losses, name, None) for name in above}
