import functools

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

RNG = np.random.default_rng(2)
LOGITS = (RNG.normal(size=(6, 7)) * 2).astype(np.float32)
FEATURES = (RNG.normal(size=(4, 3, 3, 5)) * 2 + 1).astype(np.float32)
IMAGES = RNG.uniform(size=(4, 5, 6, 3)).astype(np.float32)
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)


def balance(z, base=np.e, temperature=1.0):
    m = softmax(np.float64(z) / temperature).mean(0)
    return (m * np.log(m)).sum() / np.log(base)


def variation(x, norm):
    height, width = x.shape[1:3]
    pairs = [
        (x[:, :, : width - 1], x[:, :, 1:]),
        (x[:, : height - 1], x[:, 1:]),
        (x[:, : height - 1, : width - 1], x[:, 1:, 1:]),
        (x[:, 1:, : width - 1], x[:, : height - 1, 1:]),
    ]
    apart = [np.float64(a) - np.float64(b) for a, b in pairs]
    return sum(np.abs(d).mean() if norm == "l1" else np.sqrt((d**2).sum()) for d in apart)


def test_one_hot_golden(golden):
    g = golden("datafree/onehot")
    value, gradient = value_and_grad(lambda z: jnp.mean(losses.one_hot_confidence(z)))(g["logits_t"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_t"])
    same_value(losses.class_balance(g["logits_t"]), g["loss_balance"])


def test_class_balance_golden(golden):
    g = golden("datafree/class_balance")
    value, gradient = value_and_grad(losses.class_balance)(g["logits_t"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_t"])


def test_image_prior_golden(golden):
    g = golden("datafree/image_prior")
    value, gradient = value_and_grad(losses.image_prior)(g["images"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_images"])


def test_one_hot_oracle():
    same_value(losses.one_hot_confidence(LOGITS), -log_softmax(LOGITS).max(-1))
    tied = jax.grad(lambda z: jnp.sum(losses.one_hot_confidence(z)))(jnp.ones((1, 4)))
    same_gradient(tied, np.array([[-0.75, 0.25, 0.25, 0.25]]))


@pytest.mark.parametrize(("base", "temperature"), [(np.e, 1.0), (10, 1.0), (np.e, 5.0)])
def test_class_balance_oracle(base, temperature):
    value, gradient = value_and_grad(lambda z: losses.class_balance(z, base=base, temperature=temperature))(LOGITS)
    same_value(value, balance(LOGITS, base, temperature))
    same_gradient(gradient, differences(lambda z: balance(z, base, temperature), LOGITS))


def test_class_balance_limits():
    same_value(losses.class_balance(1e4 * jnp.eye(4)), np.float64(-np.log(4)))
    assert losses.class_balance(jnp.tile(jnp.array([[1e4, 0.0]]), (3, 1))) == 0


def test_activation_norm_oracle():
    same_value(losses.activation_norm(LOGITS), -np.abs(np.float64(LOGITS)).mean(-1))
    same_value(losses.activation_norm(FEATURES), -np.abs(np.float64(FEATURES)).mean((1, 2, 3)))
    gradient = jax.grad(lambda x: jnp.sum(losses.activation_norm(x)))(jnp.array([[0.0, 2.0, -2.0, 0.0]]))
    same_gradient(gradient, np.array([[0, -0.25, 0.25, 0]]))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_image_prior_oracle(norm):
    value, gradient = value_and_grad(lambda x: losses.image_prior(x, norm=norm))(IMAGES)
    same_value(value, variation(IMAGES, norm))
    same_gradient(gradient, differences(lambda x: variation(x, norm), IMAGES))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_image_prior_of_flat_images(norm):
    value, gradient = value_and_grad(lambda x: losses.image_prior(x, norm=norm))(jnp.full((2, 4, 4, 1), 0.3))
    assert 0 <= value < 1e-6
    assert not gradient.any()


@pytest.mark.parametrize("per_image", [False, True])
def test_image_norm_oracle(per_image):
    def norm(x):
        rows = np.float64(x).reshape(len(x), -1)
        return np.linalg.norm(rows, axis=1).mean() if per_image else np.linalg.norm(rows)

    value, gradient = value_and_grad(lambda x: losses.image_norm(x, per_image=per_image))(IMAGES)
    same_value(value, norm(IMAGES))
    same_gradient(gradient, differences(norm, IMAGES))
    value, gradient = value_and_grad(lambda x: losses.image_norm(x, per_image=per_image))(0 * IMAGES)
    assert value == 0 and not gradient.any()


def test_image_prior_of_bytes():
    assert losses.image_prior(np.array([0, 255, 0, 255], np.uint8).reshape(1, 2, 2, 1)) == 3 * 255


COUPLED = {
    "class_balance": (losses.class_balance, LOGITS),
    "class_balance_tempered": (functools.partial(losses.class_balance, temperature=5.0), LOGITS),
    "image_norm": (losses.image_norm, IMAGES),
    "image_norm_per_image": (functools.partial(losses.image_norm, per_image=True), IMAGES),
    "image_prior_l1": (losses.image_prior, IMAGES),
    "image_prior_l2": (functools.partial(losses.image_prior, norm="l2"), IMAGES),
}


@pytest.mark.parametrize("name", COUPLED)
def test_two_halves_equal_the_whole(name):
    loss, x = COUPLED[name]
    halves_equal_whole(loss, x)


@pytest.mark.parametrize("loss", [losses.one_hot_confidence, losses.class_balance, losses.activation_norm])
def test_extreme_logits(loss):
    for rows in (EXTREME, EXTREME[:1], np.full((2, 3), 1e4, np.float32)):
        value, gradient = value_and_grad(lambda z: jnp.sum(loss(z)))(rows)
        assert jnp.isfinite(value)
        assert jnp.all(jnp.isfinite(gradient))


def test_bfloat16():
    bfloat16_reduces_in_float32(losses.one_hot_confidence, LOGITS)
    bfloat16_reduces_in_float32(losses.class_balance, LOGITS)
    bfloat16_reduces_in_float32(losses.activation_norm, FEATURES)
    bfloat16_reduces_in_float32(losses.image_prior, IMAGES)
    bfloat16_reduces_in_float32(losses.image_norm, IMAGES)
    bfloat16_reduces_in_float32(functools.partial(losses.image_prior, norm="l2"), IMAGES)


def test_base_under_vmap():
    swept = jax.vmap(lambda b: losses.class_balance(LOGITS, base=b))(jnp.array([2.0, 10.0]))
    same_value(swept, np.array([balance(LOGITS, 2.0), balance(LOGITS, 10.0)]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.one_hot_confidence(LOGITS[0, 0]), ["logits", "()", "[..., K]"]),
        (lambda: losses.class_balance(LOGITS[0]), ["logits", "(7,)", "[B, K]"]),
        (lambda: losses.class_balance(LOGITS, base=1.0), ["base=1.0", "above 1"]),
        (lambda: losses.activation_norm(LOGITS[0]), ["features", "(7,)", "[B, ..., C]"]),
        (lambda: losses.class_balance(LOGITS, temperature=0), ["temperature=0", "above 0"]),
        (lambda: losses.image_norm(1.0), ["images", "()"]),
        (lambda: losses.image_norm(IMAGES, per_image="yes"), ["per_image='yes'", "True or False"]),
        (lambda: losses.image_prior(IMAGES[0]), ["images", "(5, 6, 3)", "[B, H, W, C]"]),
        (lambda: losses.image_prior(IMAGES[:, :1]), ["images", "(4, 1, 6, 3)", "at least 2"]),
        (lambda: losses.image_prior(IMAGES, norm="l3"), ["norm='l3'", "'l1' or 'l2'"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
