import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
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
MEAN, VARIANCE = RNG.normal(size=5).astype(np.float32), RNG.uniform(0.5, 2, size=5).astype(np.float32)
IMAGES = RNG.uniform(size=(4, 5, 6, 3)).astype(np.float32)
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)


def balance(z, base=np.e):
    m = softmax(z).mean(0)
    return (m * np.log(m)).sum() / np.log(base)


def statistics(x, mean=MEAN, variance=VARIANCE):
    x = np.float64(x).reshape(-1, x.shape[-1])
    return np.linalg.norm(x.mean(0) - mean) + np.linalg.norm(x.var(0) - variance)


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


def test_batch_norm_statistics_golden(golden):
    g = golden("datafree/bn_statistics")
    value, gradient = value_and_grad(losses.batch_norm_statistics)(g["features"], g["running_mean"], g["running_var"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_features"])


def test_image_prior_golden(golden):
    g = golden("datafree/image_prior")
    value, gradient = value_and_grad(losses.image_prior)(g["images"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_images"])


def small_net(g, who, x):
    """The network of the reference files: logits, pooled features, and (input, mean, variance) of each batch norm."""
    norms = []
    for layer, stride in (("1", 1), ("2", 2)):
        kernel = g[f"w_{who}_conv{layer}_kernel"]
        x = lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))
        scale, bias, mean, variance = (g[f"w_{who}_bn{layer}_{part}"] for part in ("scale", "bias", "mean", "var"))
        norms.append((x, mean, variance))
        row = (1, 1, 1, -1)
        x = (x - mean.reshape(row)) / np.sqrt(variance + 1e-5).reshape(row) * scale.reshape(row) + bias.reshape(row)
        x = jax.nn.relu(x)
    pooled = jnp.mean(x, axis=(1, 2))
    return pooled @ g[f"w_{who}_fc_kernel"] + g[f"w_{who}_fc_bias"].reshape(1, -1), pooled, norms


def golden_objective(g, parts):
    """Checks the parts of a published objective and, through two networks, the gradient of their weighted sum."""

    def total(images):
        each = {name: part(images) for name, part in parts.items()}
        return sum(g[f"hp_{weight}"].item() * each[name] for name, weight in WEIGHTS.items() if name in each), each

    (value, each), gradient = value_and_grad(total, has_aux=True)(jnp.asarray(g["images"]))
    for name in each:
        same_value(each[name], g[f"loss_{name}"], 5e-5)
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_images"])


WEIGHTS = {"bn": "bn", "onehot": "oh", "act": "act", "adv": "adv", "balance": "balance", "tv": "tv", "l2": "l2"}


def bn_term(g, x):
    return sum(losses.batch_norm_statistics(*layer) for layer in small_net(g, "teacher", x)[2])


def test_dafl_objective_golden(golden):
    g = golden("datafree/dafl_objective")

    def adversarial(x):
        student, teacher = small_net(g, "student", x)[0], small_net(g, "teacher", x)[0]
        return -jnp.mean(losses.kl_distillation(student, teacher, temperature=1.0, stop_teacher=False))

    golden_objective(
        g,
        {
            "bn": lambda x: bn_term(g, x),
            "onehot": lambda x: jnp.mean(losses.one_hot_confidence(small_net(g, "teacher", x)[0])),
            "act": lambda x: jnp.mean(losses.activation_norm(small_net(g, "teacher", x)[1])),
            "balance": lambda x: losses.class_balance(small_net(g, "teacher", x)[0]),
            "adv": adversarial,
        },
    )


def test_deepinversion_objective_golden(golden):
    g = golden("datafree/deepinversion_objective")

    def adversarial(x):
        student, teacher = small_net(g, "student", x)[0], small_net(g, "teacher", x)[0]
        return -jnp.mean(losses.jensen_shannon(student, teacher, temperature=float(g["hp_temperature_js"])))

    golden_objective(
        g,
        {
            "bn": lambda x: bn_term(g, x),
            "onehot": lambda x: jnp.mean(losses.cross_entropy(small_net(g, "teacher", x)[0], g["targets"])),
            "adv": adversarial,
            "tv": losses.image_prior,
            "l2": lambda x: jnp.sqrt(jnp.sum(x**2)),
        },
    )


def test_one_hot_oracle():
    same_value(losses.one_hot_confidence(LOGITS), -log_softmax(LOGITS).max(-1))
    tied = jax.grad(lambda z: jnp.sum(losses.one_hot_confidence(z)))(jnp.ones((1, 4)))
    same_gradient(tied, np.array([[-0.75, 0.25, 0.25, 0.25]]))


@pytest.mark.parametrize("base", [np.e, 10])
def test_class_balance_oracle(base):
    value, gradient = value_and_grad(lambda z: losses.class_balance(z, base=base))(LOGITS)
    same_value(value, balance(LOGITS, base))
    same_gradient(gradient, differences(lambda z: balance(z, base), LOGITS))


def test_class_balance_limits():
    same_value(losses.class_balance(1e4 * jnp.eye(4)), np.float64(-np.log(4)))
    assert losses.class_balance(jnp.tile(jnp.array([[1e4, 0.0]]), (3, 1))) == 0


def test_activation_norm_oracle():
    same_value(losses.activation_norm(LOGITS), -np.abs(np.float64(LOGITS)).mean(-1))
    same_value(losses.activation_norm(FEATURES), -np.abs(np.float64(FEATURES)).mean((1, 2, 3)))
    gradient = jax.grad(lambda x: jnp.sum(losses.activation_norm(x)))(jnp.array([[0.0, 2.0, -2.0, 0.0]]))
    same_gradient(gradient, np.array([[0, -0.25, 0.25, 0]]))


@pytest.mark.parametrize("x", [FEATURES, FEATURES[:, 0, 0]], ids=["map", "rows"])
def test_batch_norm_statistics_oracle(x):
    value, gradient = value_and_grad(losses.batch_norm_statistics)(x, MEAN, VARIANCE)
    same_value(value, statistics(x))
    same_gradient(gradient, differences(statistics, x))


def test_batch_norm_statistics_at_equality():
    flat = jnp.asarray([[1.0, -2.0], [3.0, 2.0]])
    mean, variance = jnp.array([2.0, 0.0]), jnp.array([1.0, 4.0])
    value, gradient = value_and_grad(losses.batch_norm_statistics)(flat, mean, variance)
    assert 0 <= value < 1e-6
    assert not gradient.any()


def test_batch_norm_statistics_large_mean():
    # One pass, mean(x^2) - mean(x)^2, would lose the variance here.
    x = RNG.normal(size=(256, 5)) + 1e3
    same_value(losses.batch_norm_statistics(x.astype(np.float32), MEAN, VARIANCE), statistics(np.float32(x)))


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


def test_image_prior_of_bytes():
    assert losses.image_prior(np.array([0, 255, 0, 255], np.uint8).reshape(1, 2, 2, 1)) == 3 * 255


COUPLED = {
    "class_balance": (losses.class_balance, LOGITS),
    "batch_norm_statistics": (
        lambda x, axis_name: losses.batch_norm_statistics(x, MEAN, VARIANCE, axis_name=axis_name),
        FEATURES,
    ),
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
    bfloat16_reduces_in_float32(losses.batch_norm_statistics, FEATURES, MEAN, VARIANCE)
    bfloat16_reduces_in_float32(losses.image_prior, IMAGES)
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
        (lambda: losses.activation_norm(MEAN), ["features", "(5,)", "[B, ..., C]"]),
        (lambda: losses.batch_norm_statistics(MEAN, MEAN, VARIANCE), ["features", "(5,)"]),
        (lambda: losses.batch_norm_statistics(FEATURES, MEAN[:3], VARIANCE), ["running_mean", "(3,)", "features"]),
        (lambda: losses.batch_norm_statistics(FEATURES, MEAN, VARIANCE[:1]), ["running_variance", "(1,)", "features"]),
        (lambda: losses.image_prior(IMAGES[0]), ["images", "(5, 6, 3)", "[B, H, W, C]"]),
        (lambda: losses.image_prior(IMAGES[:, :1]), ["images", "(4, 1, 6, 3)", "at least 2"]),
        (lambda: losses.image_prior(IMAGES, norm="l3"), ["norm='l3'", "'l1' or 'l2'"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
