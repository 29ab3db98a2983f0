import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    halves_equal_whole,
    log_softmax,
    refused,
    same_gradient,
    same_value,
    value_and_grad,
)

from kdjax import losses
from kdjax.core import collectives

RNG = np.random.default_rng(13)
A, B, C, D = RNG.normal(size=(4, 6, 4)).astype(np.float32)
FEW = np.array([[1, 2], [5, 0], [3, 4], [0, 1], [5, 2], [4, 0]], np.int32)


def log_p(rows, columns, negatives, temperature):
    """Of each row over itself and its negatives, row by row."""
    a, b = (np.float64(x) / np.linalg.norm(np.float64(x), axis=1, keepdims=True) for x in (rows, columns))
    scores, found = a @ b.T / temperature, []
    for i in range(len(scores)):
        others = negatives[i] if negatives is not None else [j for j in range(len(scores)) if j != i]
        found.append(log_softmax(scores[i, [i, *others]]))
    return np.stack(found)


def contrast(online, target, negatives, temperature=0.3):
    return -log_p(online, target, negatives, temperature)[:, 0]


def invariance(online, target, swapped, negatives, temperature=0.3, reverse=False, entropy=None):
    """`entropy` stands for what the gradient does not see."""
    p = log_p(online, target, negatives, temperature)
    q = log_p(*((target, online) if swapped is None else swapped), negatives, temperature)
    if reverse:
        return (np.exp(q) * (q - p)).sum(1)
    kept = (np.exp(p) * p).sum(1) if entropy is None else entropy
    return kept - (np.exp(p) * q).sum(1)


def test_golden(golden):
    """Of a public ReLIC: all others are negatives, the learnt temperature's logarithm is differentiated, and the divergence is the
    reverse one of the columns. There the gradient reaches the target as well."""
    g = golden("relic/relic_loss")

    def loss(x, tau):
        t = 1 / jnp.minimum(jnp.exp(tau), g["hp_max_tau"])
        found = losses.relic_contrast(x, g["x_target"], None, temperature=t)
        alike = losses.relic_invariance(x, g["x_target"], None, None, temperature=t, reverse=True)
        return jnp.mean(found + g["hp_alpha"] * alike), jnp.mean(alike)

    (value, alike), gradients = value_and_grad(loss, argnums=(0, 1), has_aux=True)(g["x"], g["tau"].astype(np.float32))
    same_value(value, g["loss"])
    same_value(alike, g["loss_invariance"])
    same_gradient(gradients[0], g["grad_x"])
    same_gradient(gradients[1], g["grad_tau"])


@pytest.mark.parametrize("negatives", [FEW, None])
def test_contrast(negatives):
    loss = value_and_grad(lambda o, t: jnp.sum(losses.relic_contrast(o, t, negatives)), argnums=(0, 1))
    value, gradients = loss(A, B)
    same_value(value, contrast(A, B, negatives).sum())
    same_gradient(gradients[0], differences(lambda o: contrast(o, B, negatives).sum(), A))
    assert not gradients[1].any()


@pytest.mark.parametrize("negatives", [FEW, None])
@pytest.mark.parametrize("reverse", [False, True])
def test_invariance(negatives, reverse):
    def loss(a, b, c, d):
        return jnp.sum(losses.relic_invariance(a, b, (c, d), negatives, temperature=0.5, reverse=reverse))

    value, gradients = value_and_grad(loss, argnums=(0, 1, 2, 3))(A, B, C, D)
    p = log_p(A, B, negatives, 0.5)
    entropy = (np.exp(p) * p).sum(1)

    def expected(a, c):
        return invariance(a, B, (c, D), negatives, 0.5, reverse, entropy).sum()

    same_value(value, expected(A, C))
    same_gradient(gradients[0], differences(lambda a: expected(a, C), A))
    same_gradient(gradients[2], differences(lambda c: expected(A, c), C))
    assert not gradients[1].any() and not gradients[3].any()


def test_a_view_that_one_network_has_not_seen_is_compared_by_columns():
    value, gradient = value_and_grad(lambda a: jnp.sum(losses.relic_invariance(a, B, None, FEW)))(A)
    p = log_p(A, B, FEW, 0.3)
    entropy = (np.exp(p) * p).sum(1)
    same_value(value, invariance(A, B, None, FEW).sum())
    same_gradient(gradient, differences(lambda a: invariance(a, B, None, FEW, entropy=entropy).sum(), A))


def test_equal_relations_are_invariant():
    value, gradient = value_and_grad(lambda a: jnp.sum(losses.relic_invariance(a, B, (A, B), None, reverse=True)))(A)
    assert abs(value) < 1e-6 and np.abs(gradient).max() < 1e-6
    assert jnp.all(losses.relic_invariance(A, B, (C, D), FEW) > 0)


def test_zero_and_extreme_rows():
    zero = np.zeros_like(A)
    for negatives in (FEW, None):
        value, gradient = value_and_grad(lambda x, n=negatives: jnp.sum(losses.relic_contrast(x, B, n)))(zero)
        same_value(value, 6 * np.log(3 if negatives is FEW else 6))
        assert not gradient.any()
        both = value_and_grad(lambda x, n=negatives: jnp.sum(losses.relic_invariance(x, B, None, n, temperature=1e-3)))
        for x in (zero, A, A * np.float32(1e25), B):
            value, gradient = both(x)
            assert np.isfinite(value) and jnp.all(jnp.isfinite(gradient))


@pytest.mark.parametrize("few", [True, False])
def test_two_halves_equal_the_whole(few):
    def loss(rows, axis_name):
        a, b, c, d, extra = (rows[:, k] for k in range(5))
        negatives = extra[:, :2].astype(jnp.int32) if few else None
        each = losses.relic_contrast(a, b, negatives, axis_name=axis_name)
        for swapped in ((c, d), None):
            each += losses.relic_invariance(a, b, swapped, negatives, axis_name=axis_name)
        return collectives.mean(each, axis_name=axis_name)

    halves_equal_whole(loss, np.stack([A, B, C, D, np.pad(FEW, ((0, 0), (0, 2))).astype(np.float32)], 1))


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda a, b: losses.relic_contrast(a, b, FEW), A, B)
    bfloat16_reduces_in_float32(lambda a, b, c, d: losses.relic_invariance(a, b, (c, d), None), A, B, C, D)


def test_a_temperature_under_vmap():
    sweep = jax.vmap(lambda t: losses.relic_contrast(A, B, FEW, temperature=t))(jnp.array([0.1, 0.7]))
    same_value(sweep, np.stack([contrast(A, B, FEW, t) for t in (0.1, 0.7)]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.relic_contrast(A, B[:, :2], None), ["target", "(6, 2)", "online"]),
        (lambda: losses.relic_contrast(A, B, FEW[:3]), ["negatives", "(3, 2)"]),
        (lambda: losses.relic_contrast(A, B, FEW.astype(np.float32)), ["negatives", "float32", "integer"]),
        (lambda: losses.relic_contrast(A, B, None, temperature=0.0), ["temperature=0.0"]),
        (lambda: losses.relic_contrast(A[:1], B[:1], None), ["relic", "1 row", "2 or more"]),
        (lambda: losses.relic_invariance(A, B, (C, D[:3]), None), ["swapped[1]", "(3, 4)"]),
        (lambda: losses.relic_invariance(A, B, None, None, reverse=1), ["reverse=1"]),
    ],
)
def test_refused_in_one_line(call, words):
    refused(call, words)
