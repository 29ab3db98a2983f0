import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, log_softmax, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(4)
A, B = (RNG.normal(size=(2, 5, 4)) * 2).astype(np.float32)
TARGETS = np.float32(RNG.dirichlet(np.ones(4), 5))
EXTREME = np.float32([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]])


def kl(p, q, temperature):
    log_p, log_q = (log_softmax(np.float64(z) / temperature) for z in (p, q))
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1)


def binary(z, t):
    z = np.float64(z)
    return (np.logaddexp(0, z) - t * z).mean(-1)


def cosub(a, b, y, weight=0.5, fixed=None):
    sigmoid = lambda z: 1 / (1 + np.exp(-np.float64(z)))  # noqa: E731
    one, two = fixed or (sigmoid(a), sigmoid(b))
    return (1 - weight) / 2 * (binary(a, y) + binary(b, y)) + weight / 2 * (binary(a, two) + binary(b, one))


@pytest.mark.parametrize("temperature", [1, 4.0])
def test_symmetric_divergence_oracle(temperature):
    loss = lambda a, b: losses.symmetric_divergence(a, b, temperature=temperature)  # noqa: E731
    expected = lambda a, b: kl(a, b, temperature) + kl(b, a, temperature)  # noqa: E731
    same_value(loss(A, B), expected(A, B), 2e-5)
    _, gradients = value_and_grad(lambda a, b: jnp.sum(loss(a, b)), argnums=(0, 1))(A, B)
    same_gradient(gradients[0], differences(lambda a: expected(a, B).sum(), A))
    same_gradient(gradients[1], differences(lambda b: expected(A, b).sum(), B))


def test_one_argument_or_the_other():
    """Of KL(p || q) the first argument is p; what flows through both is what flows through either."""

    def moved(through):
        loss = lambda a, b: jnp.sum(losses.symmetric_divergence(a, b, temperature=2.0, through=through))  # noqa: E731
        value, gradients = value_and_grad(loss, argnums=(0, 1))(A, B)
        same_value(value, (kl(A, B, 2) + kl(B, A, 2)).sum())
        return gradients

    first, second, both = (moved(through) for through in ("first", "second", "both"))
    same_gradient(first[0], differences(lambda a: kl(a, B, 2).sum(), A))
    same_gradient(first[1], differences(lambda b: kl(b, A, 2).sum(), B))
    same_gradient(second[0], differences(lambda a: kl(B, a, 2).sum(), A))
    same_gradient(second[1], differences(lambda b: kl(A, b, 2).sum(), B))
    for one, other, whole in zip(first, second, both, strict=True):
        same_gradient(one + other, np.float64(whole))


def test_cosub_golden(golden):
    g = golden("deit/cosub")
    value, gradient = value_and_grad(lambda z: jnp.mean(losses.cosub(z[:4], z[4:], g["targets"])))(g["logits"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits"])


@pytest.mark.parametrize("weight", [0, 0.5, 0.8])
def test_cosub_oracle(weight):
    loss = lambda a, b: losses.cosub(a, b, TARGETS, weight=weight)  # noqa: E731
    same_value(loss(A, B), cosub(A, B, TARGETS, weight), 2e-5)
    fixed = tuple(1 / (1 + np.exp(-np.float64(z))) for z in (A, B))
    _, gradients = value_and_grad(lambda a, b: jnp.sum(loss(a, b)), argnums=(0, 1))(A, B)
    same_gradient(gradients[0], differences(lambda a: cosub(a, B, TARGETS, weight, fixed).sum(), A))
    same_gradient(gradients[1], differences(lambda b: cosub(A, b, TARGETS, weight, fixed).sum(), B))


def test_equal_submodels_teach_each_other_nothing():
    _, gradient = value_and_grad(lambda a: jnp.sum(losses.cosub(a, A, TARGETS, weight=1.0)))(A)
    assert jnp.abs(gradient).max() < 1e-6
    assert not jax.grad(lambda y: jnp.sum(losses.cosub(A, B, y)))(TARGETS).any()


def test_extreme_logits():
    targets = np.eye(3, dtype=np.float32)[[2, 0, 1, 2]]
    for a, b in ((EXTREME, EXTREME[::-1].copy()), (EXTREME, EXTREME)):
        with np.errstate(over="ignore"):
            expected = {"cosub": cosub(a, b, targets), "divergence": kl(a, b, 1) + kl(b, a, 1)}
        found = {
            "cosub": lambda a, b: losses.cosub(a, b, targets),
            "divergence": lambda a, b: losses.symmetric_divergence(a, b, temperature=1.0),
        }
        for name, loss in found.items():
            value, gradients = value_and_grad(lambda a, b, loss=loss: jnp.sum(loss(a, b)), argnums=(0, 1))(a, b)
            same_value(value, expected[name].sum())
            assert all(jnp.isfinite(g).all() for g in gradients)


def test_options_under_vmap():
    swept = jax.vmap(lambda w: losses.cosub(A, B, TARGETS, weight=w))(jnp.array([0.0, 1.0]))
    same_value(swept, np.stack([cosub(A, B, TARGETS, w) for w in (0, 1)]), 2e-5)


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda a, b: losses.symmetric_divergence(a, b, temperature=4.0), A, B)
    bfloat16_reduces_in_float32(losses.cosub, A, B, TARGETS)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.symmetric_divergence(A, B[:2], temperature=1.0), ["b has shape (2, 4)", "a has shape (5, 4)"]),
        (lambda: losses.symmetric_divergence(A, B, temperature=0), ["temperature=0", "above 0"]),
        (lambda: losses.symmetric_divergence(A, B, temperature=1, through="a"), ["through='a'", "'both', 'first' or 'second'"]),
        (lambda: losses.cosub(A, B, np.arange(5)), ["targets has shape (5,)"]),
        (lambda: losses.cosub(A, B, TARGETS, weight=2), ["weight=2", "[0, 1]"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
