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

RNG = np.random.default_rng(7)
STUDENT, TEACHER = RNG.normal(size=(2, 5, 7)).astype(np.float32) * 3
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)
HEADS_S = RNG.normal(size=(3, 2, 2, 4, 3)).astype(np.float32)  # queries, keys, values of 2 images, 2 heads, 4 tokens
HEADS_T = RNG.normal(size=(3, 2, 2, 4, 5)).astype(np.float32)


def soft(s, t, temperature):
    log_s, log_t = log_softmax(np.float64(s) / temperature), log_softmax(np.float64(t) / temperature)
    return temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)


def relation(s, t, query_key=1.0, value_value=1.0):
    rows = 0.0
    for weight, a, b in ((query_key, 0, 1), (value_value, 2, 2)):
        log_s, log_t = (log_softmax(x[a] @ x[b].swapaxes(-1, -2) / np.sqrt(x.shape[-1])) for x in (np.float64(s), np.float64(t)))
        rows = rows + weight * (np.exp(log_t) * (log_t - log_s)).sum(-1).mean((1, 2))
    return rows


def test_hard_golden(golden):
    g = golden("deit/hard")
    alpha = float(g["hp_alpha"])

    def loss(cls, dist):
        hard = jnp.mean(losses.deit_hard(dist, g["logits_t"]))
        return (1 - alpha) * jnp.mean(losses.cross_entropy(cls, g["labels"])) + alpha * hard, hard

    (value, hard), (cls, dist) = value_and_grad(loss, argnums=(0, 1), has_aux=True)(g["logits_s_cls"], g["logits_s_dist"])
    same_value(value, g["loss"])
    same_value(hard, g["loss_distill"])
    same_gradient(cls, g["grad_logits_s_cls"])
    same_gradient(dist, g["grad_logits_s_dist"])


def test_soft_golden(golden):
    g = golden("deit/soft")
    alpha, tau = float(g["hp_alpha"]), float(g["hp_tau"])

    def loss(cls, dist):
        each = jnp.mean(losses.deit_soft(dist, g["logits_t"], temperature=tau, reduction="numel"))
        return (1 - alpha) * jnp.mean(losses.cross_entropy(cls, g["labels"])) + alpha * each, each

    (value, each), (cls, dist) = value_and_grad(loss, argnums=(0, 1), has_aux=True)(g["logits_s_cls"], g["logits_s_dist"])
    same_value(value, g["loss"])
    same_value(each, g["loss_distill"])
    same_gradient(cls, g["grad_logits_s_cls"])
    same_gradient(dist, g["grad_logits_s_dist"])
    whole = jnp.mean(losses.deit_soft(g["logits_s_dist"], g["logits_t"], temperature=tau))
    same_value(whole, g["loss_distill"] * g["logits_t"].shape[1])


def heads(g, who, tokens):
    """Queries, keys, values `[B, H, N, D]` of the reference file's qkv layer."""
    joint = tokens @ g[f"w_{who}_qkv_kernel"] + g[f"w_{who}_qkv_bias"].reshape(1, 1, -1)
    split = joint.reshape(*joint.shape[:2], 3, int(g["hp_num_heads"]), -1)
    return jnp.transpose(split, (2, 0, 3, 1, 4))


def test_relation_golden(golden):
    g = golden("tinymim/relation")
    teacher = heads(g, "teacher", g["tokens_t"])

    def loss(tokens, query_key, value_value):
        rows = losses.token_relation(heads(g, "student", tokens), teacher, query_key=query_key, value_value=value_value)
        return jnp.mean(rows)

    both = value_and_grad(loss)
    value, gradient = both(g["tokens_s"], 1.0, 1.0)
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_tokens_s"])
    same_value(both(g["tokens_s"], 1.0, 0.0)[0], g["loss_qk"])
    same_value(both(g["tokens_s"], 0.0, 1.0)[0], g["loss_vv"])


def test_hard_oracle():
    expected = -log_softmax(STUDENT)[np.arange(5), TEACHER.argmax(-1)]
    value, gradient = value_and_grad(lambda s: jnp.sum(losses.deit_hard(s, TEACHER)))(STUDENT)
    same_value(losses.deit_hard(STUDENT, TEACHER), expected)
    same_value(value, expected.sum())
    same_gradient(gradient, softmax(STUDENT) - np.eye(7)[TEACHER.argmax(-1)])


def test_hard_takes_the_first_of_equal_classes():
    teacher = np.array([[0.0, 2, 2]], np.float32)
    same_value(losses.deit_hard(STUDENT[:1, :3], teacher), -log_softmax(STUDENT[:1, :3])[:, 1])


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_oracle(temperature):
    loss = functools.partial(losses.deit_soft, temperature=temperature)
    expected = soft(STUDENT, TEACHER, temperature)
    same_value(loss(STUDENT, TEACHER), expected, 2e-5)
    same_value(loss(STUDENT, TEACHER, reduction="numel"), expected / 7, 2e-5)
    same_value(losses.deit_soft(STUDENT, TEACHER), soft(STUDENT, TEACHER, 3.0), 2e-5)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 0.5)])
def test_relation_oracle(weights):
    named = dict(zip(("query_key", "value_value"), weights, strict=True))
    loss = functools.partial(losses.token_relation, **named)
    same_value(loss(HEADS_S, HEADS_T), relation(HEADS_S, HEADS_T, **named), 2e-5)
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(loss(s, HEADS_T))))(HEADS_S)
    same_gradient(gradient, differences(lambda s: relation(s, HEADS_T, **named).sum(), HEADS_S))
    # Three arrays say the same as one.
    same_value(loss(tuple(HEADS_S), tuple(HEADS_T)), np.float64(loss(HEADS_S, HEADS_T)))


def test_stops_at_the_teacher():
    for loss in (losses.deit_hard, losses.deit_soft):
        assert not jax.grad(lambda t, loss=loss: jnp.sum(loss(STUDENT, t)))(TEACHER).any()
    assert not jax.grad(lambda t: jnp.sum(losses.token_relation(HEADS_S, t)))(HEADS_T).any()


def test_options_under_vmap():
    swept = jax.vmap(lambda t: losses.deit_soft(STUDENT, TEACHER, temperature=t))(jnp.array([1.0, 3.0]))
    same_value(swept, np.stack([soft(STUDENT, TEACHER, t) for t in (1.0, 3.0)]), 2e-5)
    weights = jnp.array([0.0, 2.0])
    swept = jax.vmap(lambda w: losses.token_relation(HEADS_S, HEADS_T, query_key=w, value_value=1 - w))(weights)
    same_value(swept, np.stack([relation(HEADS_S, HEADS_T, w, 1 - w) for w in (0.0, 2.0)]), 2e-5)


def test_extreme_and_equal_logits():
    for loss in (losses.deit_hard, functools.partial(losses.deit_soft, temperature=1.0)):
        both = value_and_grad(lambda s, t, loss=loss: jnp.sum(loss(s, t)))
        for student in (EXTREME, EXTREME[::-1].copy()):
            value, gradient = both(student, EXTREME)
            assert jnp.isfinite(value) and jnp.all(jnp.isfinite(gradient))
    # Classes that tie cost their logarithm even where student and teacher agree.
    same_value(losses.deit_hard(EXTREME, EXTREME), -log_softmax(EXTREME)[range(4), EXTREME.argmax(-1)])
    assert not losses.deit_soft(EXTREME, EXTREME).any()


def test_extreme_and_equal_relations():
    both = value_and_grad(lambda s, t: jnp.sum(losses.token_relation(s, t)))
    for student, teacher in ((1e4 * HEADS_S, 1e4 * HEADS_T), (HEADS_S, 1e4 * HEADS_T), (0 * HEADS_S, HEADS_T)):
        value, gradient = both(student, teacher)
        same_value(value, relation(student, teacher).sum())
        assert jnp.all(jnp.isfinite(gradient))
    value, gradient = both(HEADS_S, HEADS_S)
    assert value == 0
    assert jnp.max(jnp.abs(gradient)) < 1e-6


def test_bfloat16():
    bfloat16_reduces_in_float32(losses.deit_hard, STUDENT, TEACHER)
    bfloat16_reduces_in_float32(losses.deit_soft, STUDENT, TEACHER)
    bfloat16_reduces_in_float32(losses.token_relation, HEADS_S, HEADS_T)


X = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.deit_hard(X, X[:1]), ["teacher", "(1, 3)", "student_dist", "(2, 3)"]),
        (lambda: losses.deit_soft(X[0, 0], X[0, 0]), ["student_dist", "()"]),
        (lambda: losses.deit_soft(X, X, temperature=0), ["temperature=0"]),
        (lambda: losses.deit_soft(X, X, reduction="mean"), ["reduction='mean'", "'batchmean'", "'numel'"]),
        (lambda: losses.token_relation(HEADS_S[:2], HEADS_T), ["student", "2 entries", "[B, H, N, D]"]),
        (lambda: losses.token_relation(HEADS_S, HEADS_T[:, 0]), ["teacher query", "(2, 4, 5)"]),
        (lambda: losses.token_relation(HEADS_S, HEADS_T[:, :, :1]), ["teacher query", "(2, 1, 4, 5)", "same H"]),
        (lambda: losses.token_relation((X, X, X), HEADS_T), ["student query", "(2, 3)"]),
        (lambda: losses.token_relation(HEADS_S, HEADS_T, query_key=-1.0), ["query_key=-1.0", "at least 0"]),
        (lambda: losses.token_relation(HEADS_S, HEADS_T, value_value=None), ["value_value=None"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
