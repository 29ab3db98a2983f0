import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers import batch_norm, conv, pooled
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(5)
STUDENT, TEACHER = RNG.normal(size=(2, 2, 4, 5, 3)).astype(np.float32) * 2
MARGIN = np.array([-0.5, -1.5, -3.0], np.float32)


def boundary(s, t, margin):
    s, t = np.float64(s), np.float64(t)
    rows = np.where(t > 0, (s - margin) ** 2 * (s <= margin), (s + margin) ** 2 * (s > -margin))
    return rows.reshape(len(s), -1).sum(-1)


def partial(s, t, margin=MARGIN):
    s, m = np.float64(s), np.float64(margin)
    t = pooled(t, *s.shape[1:3])
    rows = (s - m) ** 2 * ((s > m) & (t <= m)) + (s - t) ** 2 * ((s > t) & (t > m) & (t <= 0)) + (s - t) ** 2 * (t > 0)
    return rows.reshape(len(s), -1).sum(-1)


def negative_mean(scale, bias):
    """E[x | x < 0] by summation over a fine grid."""
    s, m = abs(float(scale)), float(bias)
    x = np.linspace(min(m - 12 * s, -1e-9), 0, 2_000_001)
    density = np.exp(-0.5 * ((x - m) / s) ** 2)
    return (x * density).sum() / density.sum()


@pytest.mark.parametrize("name", ["repdistiller/ab", "repdistiller/ab_margin2"])
def test_activation_boundary_golden(golden, name):
    g = golden(name)
    layers = int(g["hp_feat_num"])

    def total(student):
        each = [jnp.mean(losses.activation_boundary(f, g[f"f_t{i}"], margin=float(g["hp_margin"]))) for i, f in enumerate(student)]
        each = jnp.stack([2.0 ** (i - layers + 1) * 3 / 1000 * value for i, value in enumerate(each)])
        return jnp.sum(each), each

    (value, each), gradients = value_and_grad(total, has_aux=True)([g[f"f_s{i}"] for i in range(layers)])
    same_value(each, g["loss_per_layer"])
    same_value(value, g["loss"])
    for i, gradient in enumerate(gradients):
        same_gradient(gradient, g[f"grad_f_s{i}"])


def test_overhaul_golden(golden):
    g = golden("mdistiller/ofd_feat_loss")
    value, gradient = value_and_grad(lambda s: jnp.mean(losses.overhaul(s, g["f_t"], margin=g["margin"])))(g["f_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_f_s"])


def test_overhaul_golden_through_connectors(golden):
    g = golden("mdistiller/ofd_full")

    def loss(student):
        total = 0.0
        for i, f in enumerate(student):
            margin = losses.overhaul_margin(g[f"teacher_bn_scale{i}"], g[f"teacher_bn_bias{i}"])
            f = batch_norm(conv(f, g[f"w_connector{i}_kernel"]), g[f"w_connector{i}_bn_scale"], g[f"w_connector{i}_bn_bias"])
            total += 2.0 ** (i - 1) * jnp.mean(losses.overhaul(f, g[f"f_t{i}"], margin=margin))
        return total

    value, gradients = value_and_grad(loss)([g[f"f_s{i}"] for i in range(2)])
    same_value(value, g["loss"])
    for i, gradient in enumerate(gradients):
        same_gradient(gradient, g[f"grad_f_s{i}"])
        same_value(losses.overhaul_margin(g[f"teacher_bn_scale{i}"], g[f"teacher_bn_bias{i}"]), g[f"margin{i}"])


def test_overhaul_margin_is_the_mean_of_negative_values():
    scale, bias = np.array([1.0, -1.0, 2.0, 0.5], np.float32), np.array([0.0, 3.0, -9.0, 1.2], np.float32)
    same_value(losses.overhaul_margin(scale, bias), [negative_mean(s, b) for s, b in zip(scale, bias, strict=True)])


def test_overhaul_margin_far_from_zero():
    with jax.debug_nans(True):
        margin = losses.overhaul_margin(jnp.array([2.0, -2.0, 0.0, 0.0, 0.0, 1.0]), jnp.array([6.3, 6.3, 1.0, 0.0, -1.0, -1e4]))
    same_value(margin, np.array([-6.0, -6.0, 0.0, 0.0, -1.0, -1e4]), 1e-6)
    # P(x < 0) is 0.00100 at 3.0902 deviations: just above and just below it.
    either = losses.overhaul_margin(jnp.ones(2), jnp.array([3.09, 3.0905]))
    same_value(either, np.array([negative_mean(1, 3.09), -3.0]), 1e-4)
    gradients = jax.grad(lambda *a: jnp.sum(losses.overhaul_margin(*a)), argnums=(0, 1))(jnp.ones(2), -jnp.ones(2))
    assert not any(g.any() for g in gradients)


LOSSES = {
    "ab": (functools.partial(losses.activation_boundary, margin=1), functools.partial(boundary, margin=1)),
    "ab_half": (functools.partial(losses.activation_boundary, margin=0.5), functools.partial(boundary, margin=0.5)),
    "ofd": (functools.partial(losses.overhaul, margin=MARGIN), partial),
}


@pytest.mark.parametrize("name", LOSSES)
def test_oracle(name):
    loss, expected = LOSSES[name]
    same_value(loss(STUDENT, TEACHER), expected(STUDENT, TEACHER))
    gradient = value_and_grad(lambda s: jnp.sum(loss(s, TEACHER)))(STUDENT)[1]
    same_gradient(gradient, differences(lambda s: expected(s, TEACHER).sum(), STUDENT))


@pytest.mark.parametrize("size", [(2, 5), (4, 3), (6, 7)])
def test_overhaul_pools_the_teacher_to_the_student(size):
    student = RNG.normal(size=(2, *size, 3)).astype(np.float32)
    same_value(losses.overhaul(student, TEACHER, margin=MARGIN), partial(student, TEACHER))


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_stops_at_the_teacher(name):
    assert not jax.grad(lambda t: jnp.sum(LOSSES[name][0](STUDENT, t)))(TEACHER).any()


def test_overhaul_stops_at_the_margin():
    assert not jax.grad(lambda m: jnp.sum(losses.overhaul(STUDENT, TEACHER, margin=m)))(MARGIN).any()


def test_equal_features():
    value, gradient = value_and_grad(lambda s: jnp.sum(losses.overhaul(s, jnp.maximum(TEACHER, -0.5), margin=MARGIN)))(
        np.maximum(TEACHER, -0.5)
    )
    assert value == 0
    assert not gradient.any()
    # On the right side by the margin or more there is nothing to gain.
    value, gradient = value_and_grad(lambda s: jnp.sum(losses.activation_boundary(s, s, margin=1.0)))(np.sign(TEACHER))
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_features(name):
    loss, expected = LOSSES[name]
    for s, t in ((STUDENT * 1e4, TEACHER * 1e4), (STUDENT * 1e4, -STUDENT), (STUDENT * 0, TEACHER * 0), (TEACHER, TEACHER)):
        value, gradient = value_and_grad(lambda s, t: jnp.sum(loss(s, t)))(s, t)
        same_value(value, expected(s, t).sum())
        assert jnp.all(jnp.isfinite(gradient))


def test_activation_boundary_of_a_silent_teacher():
    # A value of exactly 0 is not active: the student is pushed below -margin.
    same_value(losses.activation_boundary(jnp.array([[0.5]]), jnp.zeros((1, 1)), margin=1.0), np.array([2.25]))


def test_activation_boundary_of_rows_and_swept_margins():
    rows = STUDENT[:, 0, 0], TEACHER[:, 0, 0]
    swept = jax.vmap(lambda m: losses.activation_boundary(*rows, margin=m))(jnp.array([1.0, 2.0]))
    same_value(swept, np.stack([boundary(*rows, m) for m in (1.0, 2.0)]))


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16(name):
    bfloat16_reduces_in_float32(LOSSES[name][0], STUDENT, TEACHER)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.activation_boundary(MARGIN, MARGIN, margin=1.0), ["student", "(3,)", "[B, ..., C]"]),
        (lambda: losses.activation_boundary(STUDENT, TEACHER[:, :2], margin=1.0), ["teacher", "(2, 2, 5, 3)", "student"]),
        (lambda: losses.activation_boundary(STUDENT, TEACHER, margin=0.0), ["margin=0.0", "above 0"]),
        (lambda: losses.activation_boundary(STUDENT, TEACHER, margin=math.inf), ["margin=inf"]),
        (lambda: losses.overhaul(STUDENT[0], TEACHER, margin=MARGIN), ["student", "(4, 5, 3)", "[B, H, W, C]"]),
        (lambda: losses.overhaul(STUDENT, TEACHER[..., :2], margin=MARGIN), ["teacher", "(2, 4, 5, 2)", "same C"]),
        (lambda: losses.overhaul(STUDENT, TEACHER, margin=MARGIN[:1]), ["margin", "(1,)", "student"]),
        (lambda: losses.overhaul_margin(MARGIN, MARGIN[:2]), ["bias", "(2,)", "scale", "(3,)"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
