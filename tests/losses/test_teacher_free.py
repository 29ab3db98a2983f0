import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, log_softmax, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(4)
LOGITS, LABELS = (RNG.normal(size=(5, 4)) * 2).astype(np.float32), np.array([0, 3, 1, 1, 2])
EXTREME = np.float32([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]])


def virtual(z, y=LABELS, correct=0.9, temperature=20.0, variant="library"):
    z = np.float64(z)
    u = np.where(np.eye(z.shape[1])[y] > 0, correct, (1 - correct) / (z.shape[1] - 1))
    if variant == "library":
        return -(u * log_softmax(z / temperature)).sum(-1) / temperature
    log_u = log_softmax(u / temperature)
    return (np.exp(log_u) * (log_u - log_softmax(z))).sum(-1)


def penalty(z):
    return (np.exp(log_softmax(z)) * log_softmax(z)).sum(-1)


def test_library_golden(golden):
    g = golden("self_kd_lib/tf_kd_reg")
    options = {"correct": 1 - g["hp_epsilon"], "temperature": g["hp_temperature"]}
    value, gradient = value_and_grad(lambda z: jnp.mean(losses.teacher_free(z, g["labels"], **options)))(g["logits_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])


def test_official_golden(golden):
    g = golden("tf_kd/reg")
    alpha, factor = g["hp_alpha"].item(), g["hp_multiplier"].item() / g["logits_s"].shape[1]

    def loss(z):
        options = {"correct": 0.99, "temperature": g["hp_temperature"], "variant": "official"}
        soft = jnp.mean(losses.teacher_free(z, g["labels"], **options))
        return (1 - alpha) * jnp.mean(losses.cross_entropy(z, g["labels"])) + alpha * factor * soft

    value, gradient = value_and_grad(loss)(g["logits_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])


@pytest.mark.parametrize("variant", ["library", "official"])
@pytest.mark.parametrize(("correct", "temperature"), [(0.9, 20), (0.6, 0.5), (1, 1.0)])
def test_teacher_free_oracle(variant, correct, temperature):
    options = {"correct": correct, "temperature": temperature, "variant": variant}
    same_value(losses.teacher_free(LOGITS, LABELS, **options), virtual(LOGITS, **options), 2e-5)
    _, gradient = value_and_grad(lambda z: jnp.sum(losses.teacher_free(z, LABELS, **options)))(LOGITS)
    same_gradient(gradient, differences(lambda z: virtual(z, **options).sum(), LOGITS))


def test_a_teacher_that_is_sure_is_the_label():
    found = losses.teacher_free(LOGITS, LABELS, correct=1.0, temperature=1.0)
    same_value(found, np.float64(losses.cross_entropy(LOGITS, LABELS)))


def test_penalty_oracle():
    same_value(losses.confidence_penalty(LOGITS), penalty(LOGITS), 2e-5)
    _, gradient = value_and_grad(lambda z: jnp.sum(losses.confidence_penalty(z)))(LOGITS)
    same_gradient(gradient, differences(lambda z: penalty(z).sum(), LOGITS))


def test_extreme_logits():
    labels = np.array([2, 0, 1, 2])
    for variant in ("library", "official"):
        loss = lambda z, v=variant: jnp.sum(losses.teacher_free(z, labels, variant=v))  # noqa: E731
        value, gradient = value_and_grad(loss)(EXTREME)
        same_value(value, virtual(EXTREME, labels, variant=variant).sum())
        assert jnp.isfinite(gradient).all()
    value, gradient = value_and_grad(lambda z: jnp.sum(losses.confidence_penalty(z)))(EXTREME)
    same_value(value, penalty(EXTREME).sum())
    assert jnp.isfinite(gradient).all()


def test_options_under_vmap():
    swept = jax.vmap(lambda c, t: losses.teacher_free(LOGITS, LABELS, correct=c, temperature=t))(
        jnp.array([0.5, 0.9]), jnp.array([1.0, 20.0])
    )
    same_value(swept, np.stack([virtual(LOGITS, correct=0.5, temperature=1.0), virtual(LOGITS)]), 2e-5)


def test_a_number_that_is_no_class_shows():
    for variant in ("library", "official"):
        rows = losses.teacher_free(LOGITS, jnp.array([-1, 4, 0, 0, 0]), variant=variant)
        assert np.isnan(rows).tolist() == [True, True, False, False, False]


def test_bfloat16():
    for variant in ("library", "official"):
        bfloat16_reduces_in_float32(lambda z, v=variant: losses.teacher_free(z, LABELS, variant=v), LOGITS)
    bfloat16_reduces_in_float32(losses.confidence_penalty, LOGITS)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.teacher_free(LOGITS, LABELS[:2]), ["labels", "logits"]),
        (lambda: losses.teacher_free(LOGITS, LABELS * 1.0), ["labels", "integer"]),
        (lambda: losses.teacher_free(LOGITS, LABELS, correct=1.5), ["correct=1.5", "[0, 1]"]),
        (lambda: losses.teacher_free(LOGITS, LABELS, temperature=0), ["temperature=0", "above 0"]),
        (lambda: losses.teacher_free(LOGITS, LABELS, variant="paper"), ["variant='paper'", "'library' or 'official'"]),
        (lambda: losses.teacher_free(LOGITS[:, :1], LABELS * 0), ["(5, 1)", "at least 2"]),
        (lambda: losses.teacher_free(LOGITS[:, :1], LABELS * 0, variant="official"), ["(5, 1)", "at least 2"]),
        (lambda: losses.confidence_penalty(1.0), ["logits", "()"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
