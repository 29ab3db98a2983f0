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
    softmax,
    value_and_grad,
)

from kdjax import losses
from kdjax.core import collectives

RNG = np.random.default_rng(4)
STUDENT, TEACHER = (RNG.normal(size=(2, 6, 4)) * 2).astype(np.float32)
FEATURES = RNG.normal(size=(6, 5)).astype(np.float32)
TARGET = np.float32(softmax(TEACHER))
EXTREME = np.float32([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]])


def apart(s, q, temperature):
    q = np.float64(q)
    log_q = np.log(np.where(q > 0, q, 1))
    return temperature**2 * (q * (log_q - np.where(q > 0, log_softmax(np.float64(s) / temperature), 0))).sum(-1)


def bake(features, logits, temperature=4.0, omega=0.5):
    """By the iteration of which it is the limit."""
    x = np.float64(features)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    a = softmax(x @ x.T - 1e9 * np.eye(len(x)))
    p = q = softmax(np.float64(logits) / temperature)
    for _ in range(200):
        q = omega * a @ q + (1 - omega) * p
    return q


@pytest.mark.parametrize("temperature", [1, 4.0])
def test_divergence_from_oracle(temperature):
    loss = lambda s: losses.divergence_from(s, TARGET, temperature=temperature)  # noqa: E731
    same_value(loss(STUDENT), apart(STUDENT, TARGET, temperature), 2e-5)
    _, gradient = value_and_grad(lambda s: jnp.sum(loss(s)))(STUDENT)
    same_gradient(gradient, differences(lambda s: apart(s, TARGET, temperature).sum(), STUDENT))


def test_divergence_from_a_softened_teacher_is_distillation():
    soft = jax.nn.softmax(TEACHER / 4.0)
    expected = np.float64(losses.kl_distillation(STUDENT, TEACHER, temperature=4.0))
    same_value(losses.divergence_from(STUDENT, soft, temperature=4.0), expected, 5e-5)
    assert not jax.grad(lambda q: jnp.sum(losses.divergence_from(STUDENT, q, temperature=4.0)))(soft).any()


def test_divergence_from_extremes():
    targets = np.float32([[0, 0, 1], [1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]])
    value, gradient = value_and_grad(lambda s: jnp.sum(losses.divergence_from(s, targets, temperature=1.0)))(EXTREME)
    same_value(value, apart(EXTREME, targets, 1).sum())
    assert jnp.isfinite(gradient).all()


def test_divergence_from_under_vmap():
    swept = jax.vmap(lambda t: losses.divergence_from(STUDENT, TARGET, temperature=t))(jnp.array([1.0, 4.0]))
    same_value(swept, np.stack([apart(STUDENT, TARGET, t) for t in (1, 4)]), 2e-5)


def test_bake_golden(golden):
    g = golden("bake/bake")
    temperature = g["hp_temperature"].item()

    def loss(features, logits):
        targets = losses.bake_targets(features, logits, temperature=temperature, omega=g["hp_omega"])
        soft = losses.divergence_from(logits, targets, temperature=temperature)
        return jnp.mean(losses.cross_entropy(logits, g["labels"]) + g["hp_lamda"] * soft), (targets, soft)

    (value, (targets, soft)), gradients = value_and_grad(loss, argnums=(0, 1), has_aux=True)(g["feats"], g["logits"])
    same_value(value, g["loss"])
    same_value(targets, g["soft_targets"])
    same_value(jnp.mean(soft), g["loss_kd"], 5e-5)
    assert not gradients[0].any() and not g["grad_feats"].any()
    same_gradient(gradients[1], g["grad_logits"])


def test_bake_golden_of_the_library(golden):
    """Its own loss softens the targets a second time."""
    g = golden("self_kd_lib/bake")
    options = {"temperature": g["hp_temperature"].item()}
    targets = losses.bake_targets(g["feats"], g["logits_s"], omega=g["hp_omega"], **options)
    same_value(targets, g["soft_targets"])
    same_value(jnp.mean(losses.divergence_from(g["logits_s"], targets, **options)), g["loss_kl_on_targets"], 5e-5)
    twice = lambda z: jnp.mean(losses.kl_distillation(z, targets, **options))  # noqa: E731
    value, gradient = value_and_grad(twice)(g["logits_s"])
    same_value(value, g["loss"], 5e-5)
    same_gradient(gradient, g["grad_logits_s"])


@pytest.mark.parametrize(("temperature", "omega"), [(4.0, 0.5), (1, 0), (0.5, 0.9)])
def test_bake_oracle(temperature, omega):
    found = losses.bake_targets(FEATURES, STUDENT, temperature=temperature, omega=omega)
    same_value(found, bake(FEATURES, STUDENT, temperature, omega), 5e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_bake_omega_0_teaches_nothing():
    def loss(z):
        return jnp.sum(losses.divergence_from(z, losses.bake_targets(FEATURES, z, omega=0.0), temperature=4.0))

    value, gradient = value_and_grad(loss)(STUDENT)
    assert abs(value) < 1e-5 and jnp.abs(gradient).max() < 1e-5


def test_bake_halves_equal_whole():
    def loss(both, axis_name):
        logits, features = both[:, :4], both[:, 4:]
        targets = losses.bake_targets(features, logits, axis_name=axis_name)
        return collectives.mean(losses.divergence_from(logits, targets, temperature=4.0), axis_name=axis_name)

    halves_equal_whole(loss, np.concatenate([STUDENT, FEATURES], axis=1))


def test_bake_extremes():
    zero = np.zeros((4, 5), np.float32)
    for features in (zero, 1e4 * FEATURES[:4], np.broadcast_to(FEATURES[:1], (4, 5))):
        same_gradient(losses.bake_targets(features, EXTREME, temperature=1.0), bake(features, EXTREME, 1.0), 1e-5)
    same_value(losses.bake_targets(FEATURES[:1], STUDENT[:1]), softmax(STUDENT[:1] / 4))  # nobody else: its own


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda s, q: losses.divergence_from(s, q, temperature=4.0), STUDENT, TARGET)
    bfloat16_reduces_in_float32(losses.bake_targets, FEATURES, STUDENT)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.divergence_from(STUDENT, TARGET[:2], temperature=1.0), ["target has shape (2, 4)", "student"]),
        (lambda: losses.divergence_from(STUDENT, TARGET, temperature=0), ["temperature=0", "above 0"]),
        (lambda: losses.bake_targets(FEATURES[:2], STUDENT), ["logits", "features", "(2, 5)"]),
        (lambda: losses.bake_targets(FEATURES, STUDENT, omega=1), ["omega=1", "[0, 1)"]),
        (lambda: losses.bake_targets(FEATURES, STUDENT, temperature=-1), ["temperature=-1", "above 0"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
