"""What batch-norm layers remember, against the authors' code and NumPy in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    halves_equal_whole,
    refused,
    same_gradient,
    same_value,
    value_and_grad,
)

from kdjax import losses

RNG = np.random.default_rng(4)
FEATURES = (RNG.normal(size=(4, 3, 3, 5)) * 2 + 1).astype(np.float32)
MEAN, VARIANCE = RNG.normal(size=5).astype(np.float32), RNG.uniform(0.5, 2, size=5).astype(np.float32)
AVERAGE = RNG.normal(size=5).astype(np.float32), RNG.uniform(0.5, 2, size=5).astype(np.float32)


def statistics(x, mean=MEAN, variance=VARIANCE):
    x = np.float64(x).reshape(-1, x.shape[-1])
    return np.linalg.norm(x.mean(0) - mean) + np.linalg.norm(x.var(0) - variance)


def averaged(x, momentum=0.3):
    rows = np.float64(x).reshape(-1, x.shape[-1])
    mean, variance = ((1 - momentum) * new + momentum * old for new, old in zip((rows.mean(0), rows.var(0)), AVERAGE, strict=True))
    return np.linalg.norm(mean - MEAN) + np.linalg.norm(variance - VARIANCE)


def gaussian(x, mean=MEAN, variance=VARIANCE, epsilon=0.0):
    """By quadrature: the integral of p (log p - log q) over a fine grid."""
    rows = np.float64(x).reshape(-1, x.shape[-1])
    total = 0.0
    for m, v, mean_q, v_q in zip(
        rows.mean(0), rows.var(0) + epsilon, np.float64(mean), np.float64(variance) + epsilon, strict=True
    ):
        at = m + np.sqrt(v) * np.linspace(-12, 12, 20001)
        log_p, log_q = (-((at - c) ** 2) / (2 * s) - 0.5 * np.log(2 * np.pi * s) for c, s in ((m, v), (mean_q, v_q)))
        total += np.trapezoid(np.exp(log_p) * (log_p - log_q), at)
    return total


def test_batch_norm_statistics_golden(golden):
    g = golden("datafree/bn_statistics")
    value, gradient = value_and_grad(losses.batch_norm_statistics)(g["features"], g["running_mean"], g["running_var"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_features"])


def test_moving_average_golden(golden):
    g = golden("fast_datafree/bn_statistics_ema")

    def run(*features):
        average, each = (jnp.zeros(5), jnp.zeros(5)), []
        for step, x in enumerate(features):
            value, average = losses.averaged_batch_norm_statistics(
                x, g["running_mean"], g["running_var"], average, momentum=float(g["hp_bn_mmt"]) if step else 0.0
            )
            each.append((value, average))
        return sum(value for value, _ in each), each

    (value, each), gradients = value_and_grad(run, argnums=(0, 1, 2), has_aux=True)(*(g[f"f{step}"] for step in range(3)))
    same_value(value, g["loss"])
    for step, (value, (mean, variance)) in enumerate(each):
        same_value(value, g["loss_per_step"][step])
        same_gradient(mean, g[f"ema_mean_after{step}"], 1e-6)
        same_gradient(variance, g[f"ema_var_after{step}"], 1e-6)
        same_gradient(gradients[step], g[f"grad_f{step}"])


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


def test_moving_average_oracle():
    loss = functools.partial(losses.averaged_batch_norm_statistics, momentum=0.3)
    (value, _), gradient = value_and_grad(loss, has_aux=True)(FEATURES, MEAN, VARIANCE, AVERAGE)
    same_value(value, averaged(FEATURES))
    same_gradient(gradient, differences(averaged, FEATURES))


def test_without_an_average_it_is_the_batch_alone():
    nothing = (jnp.full(5, jnp.nan), jnp.full(5, jnp.inf))
    found = jax.jit(lambda m: losses.averaged_batch_norm_statistics(FEATURES, MEAN, VARIANCE, nothing, momentum=m))(0.0)
    same_value(found[0], np.float64(losses.batch_norm_statistics(FEATURES, MEAN, VARIANCE)))
    same_value(found[1][0], np.float64(FEATURES).mean((0, 1, 2)), 1e-4)


def test_no_gradient_reaches_what_is_stored():
    def everything(*stored):
        mean, variance, *average = stored
        value, after = losses.averaged_batch_norm_statistics(FEATURES, mean, variance, average, momentum=0.3)
        return value + sum(jnp.sum(a) for a in after) + losses.batch_norm_gaussian(FEATURES, mean, variance)

    assert not any(g.any() for g in jax.jit(jax.grad(everything, argnums=(0, 1, 2, 3)))(MEAN, VARIANCE, *AVERAGE))

    def after(x):
        return sum(jnp.sum(a) for a in losses.averaged_batch_norm_statistics(x, MEAN, VARIANCE, AVERAGE, momentum=0.3)[1])

    assert not jax.jit(jax.grad(after))(FEATURES).any()


@pytest.mark.parametrize("x", [FEATURES, FEATURES[:, 0, 0]], ids=["map", "rows"])
def test_gaussian_oracle(x):
    value, gradient = value_and_grad(losses.batch_norm_gaussian)(x, MEAN, VARIANCE)
    same_value(value, gaussian(x))
    same_gradient(gradient, differences(gaussian, x, 1e-5))
    same_value(losses.batch_norm_gaussian(x, MEAN, VARIANCE, epsilon=0.5), gaussian(x, epsilon=0.5))


def test_gaussian_of_what_hardly_varies():
    rows = np.float32(FEATURES).reshape(-1, 5)
    value, gradient = value_and_grad(losses.batch_norm_gaussian)(rows, rows.mean(0), rows.var(0))
    assert abs(value) < 1e-6 and jnp.abs(gradient).max() < 1e-5
    for x, variance in ((np.ones_like(rows), VARIANCE), (rows, 0 * VARIANCE), (np.ones_like(rows), 0 * VARIANCE)):
        value, gradient = value_and_grad(losses.batch_norm_gaussian)(x, MEAN, variance)
        assert jnp.isfinite(value) and jnp.isfinite(gradient).all()


COUPLED = {
    "batch_norm_statistics": lambda x, **axis: losses.batch_norm_statistics(x, MEAN, VARIANCE, **axis),
    "batch_norm_gaussian": lambda x, **axis: losses.batch_norm_gaussian(x, MEAN, VARIANCE, **axis),
    "averaged": lambda x, **axis: losses.averaged_batch_norm_statistics(x, MEAN, VARIANCE, AVERAGE, momentum=0.3, **axis)[0],
    "average": lambda x, **axis: (
        jnp.sum(jnp.stack(losses.averaged_batch_norm_statistics(x, MEAN, VARIANCE, AVERAGE, momentum=0.3, **axis)[1]) ** 2)
        + losses.batch_norm_gaussian(x, MEAN, VARIANCE, **axis)
    ),
}


@pytest.mark.parametrize("name", COUPLED)
def test_two_halves_equal_the_whole(name):
    halves_equal_whole(COUPLED[name], FEATURES)


@pytest.mark.parametrize("name", COUPLED)
def test_bfloat16(name):
    bfloat16_reduces_in_float32(COUPLED[name], FEATURES)


def test_a_momentum_and_an_epsilon_are_swept():
    found = jax.vmap(lambda m: losses.averaged_batch_norm_statistics(FEATURES, MEAN, VARIANCE, AVERAGE, momentum=m)[0])(
        jnp.array([0.0, 0.3])
    )
    same_value(found, np.array([averaged(FEATURES, 0.0), averaged(FEATURES)]))
    found = jax.vmap(lambda e: losses.batch_norm_gaussian(FEATURES, MEAN, VARIANCE, epsilon=e))(jnp.array([0.1, 0.5]))
    same_value(found, np.array([gaussian(FEATURES, epsilon=e) for e in (0.1, 0.5)]))


def moved(**options):
    return losses.averaged_batch_norm_statistics(FEATURES, MEAN, VARIANCE, options.pop("average", AVERAGE), **options)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.batch_norm_statistics(MEAN, MEAN, VARIANCE), ["features", "(5,)"]),
        (lambda: losses.batch_norm_statistics(FEATURES, MEAN[:3], VARIANCE), ["running_mean", "(3,)", "features"]),
        (lambda: losses.batch_norm_statistics(FEATURES, MEAN, VARIANCE[:1]), ["running_variance", "(1,)", "features"]),
        (lambda: losses.batch_norm_gaussian(MEAN, MEAN, VARIANCE), ["features", "(5,)", "[B, ..., C]"]),
        (lambda: losses.batch_norm_gaussian(FEATURES, MEAN, VARIANCE[:1]), ["variance", "(1,)", "features"]),
        (lambda: losses.batch_norm_gaussian(FEATURES, MEAN, VARIANCE, epsilon=0), ["epsilon=0", "above 0"]),
        (lambda: moved(momentum=1.5), ["momentum=1.5", "[0, 1]"]),
        (lambda: moved(momentum=0.5, average=(MEAN, MEAN[:2])), ["variance_of_average", "(2,)", "features"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
