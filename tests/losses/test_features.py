import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers import batch_norm, conv, nearest, pooled
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(3)
STUDENT, TEACHER = RNG.normal(size=(2, 2, 5, 6, 3)).astype(np.float32)
LOG_SCALE = RNG.normal(size=3).astype(np.float32)


def squares(s, t):
    return ((np.float64(s) - np.float64(t)) ** 2).reshape(len(s), -1).mean(-1)


def gaussian(m, t, log_scale, epsilon=1e-5):
    v = np.log1p(np.exp(np.float64(log_scale))) + epsilon
    rows = (np.float64(m) - np.float64(t)) ** 2 / v + np.log(v)
    return 0.5 * rows.reshape(len(m), -1).mean(-1)


def context(s, t, sizes=(4, 2, 1)):
    weights, terms = [1.0], [squares(s, t)]
    for size in sizes:
        if size < s.shape[1]:
            weights.append(weights[-1] / 2)
            terms.append(squares(pooled(s, size, size), pooled(t, size, size)))
    return sum(w * x for w, x in zip(weights, terms, strict=True)) / sum(weights)


def test_hint_golden(golden):
    g = golden("repdistiller/hint")
    value, gradient = value_and_grad(lambda s: jnp.mean(losses.hint(s, g["f_t"])))(g["f_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_f_s"])


def test_hint_golden_through_a_regressor(golden):
    g = golden("repdistiller/hint_convreg")

    def loss(f):
        regressed = conv(f, g["w_conv_kernel"], g["w_conv_bias"], int(g["hp_stride"]), int(g["hp_padding"]))
        regressed = jax.nn.relu(batch_norm(regressed, g["w_bn_scale"], g["w_bn_bias"]))
        return jnp.mean(losses.hint(regressed, g["f_t"]))

    value, gradient = value_and_grad(loss)(g["f_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_f_s"])


def test_variational_information_golden(golden):
    g = golden("repdistiller/vid")

    def loss(f, log_scale):
        for layer in "12":
            f = jax.nn.relu(conv(f, g[f"w_conv{layer}_kernel"]))
        mean = conv(f, g["w_conv3_kernel"])
        return jnp.mean(losses.variational_information(mean, g["f_t"], log_scale, epsilon=float(g["hp_eps"])))

    value, gradients = value_and_grad(loss, argnums=(0, 1))(g["f_s"], g["w_log_scale"])
    same_value(value, g["loss"])
    same_gradient(gradients[0], g["grad_f_s"])
    same_gradient(gradients[1], g["grad_w_log_scale"])


def test_hierarchical_context_golden(golden):
    g = golden("mdistiller/reviewkd_hcl")

    def loss(student):
        return sum(jnp.mean(losses.hierarchical_context(f, g[f"f_t{i}"])) for i, f in enumerate(student))

    value, gradients = value_and_grad(loss)([g[f"f_s{i}"] for i in range(3)])
    same_value(value, g["loss"])
    for i, gradient in enumerate(gradients):
        same_gradient(gradient, g[f"grad_f_s{i}"])


def test_hierarchical_context_golden_through_fusion(golden):
    g = golden("mdistiller/reviewkd_full")

    def loss(student):
        total, deeper = 0.0, None
        for i in (2, 1, 0):
            w = {k.removeprefix(f"w_abf{i}_"): v for k, v in g.items() if k.startswith(f"w_abf{i}_")}
            x = batch_norm(conv(student[i], w["conv1_kernel"]), w["bn1_scale"], w["bn1_bias"])
            if deeper is not None:
                deeper = nearest(deeper, *x.shape[1:3])
                share = jax.nn.sigmoid(conv(jnp.concatenate([x, deeper], -1), w["att_kernel"], w["att_bias"]))
                x = x * share[..., :1] + deeper * share[..., 1:]
            deeper = nearest(x, *g[f"f_t{i}"].shape[1:3])
            fused = batch_norm(conv(deeper, w["conv2_kernel"], padding=1), w["bn2_scale"], w["bn2_bias"])
            total += jnp.mean(losses.hierarchical_context(fused, g[f"f_t{i}"]))
        return total

    value, gradients = value_and_grad(loss)([g[f"f_s{i}"] for i in range(3)])
    same_value(value, g["loss"])
    for i, gradient in enumerate(gradients):
        same_gradient(gradient, g[f"grad_f_s{i}"])


@pytest.mark.parametrize("shape", [(2, 8), (8, 2), (1, 4), (3, 5), (1, 1)])
def test_hierarchical_context_of_maps_that_are_not_square(shape):
    s, t = RNG.normal(size=(2, 2, *shape, 3)).astype(np.float32)
    apart = np.float64(s) - t
    levels = [(apart**2).mean((1, 2, 3))]
    for size in (4, 2, 1):
        sides = min(size, shape[0]), min(size, shape[1])
        if sides != shape:
            levels.append((pooled(apart, *sides) ** 2).mean((1, 2, 3)))
    weights = 0.5 ** np.arange(len(levels))
    expected = weights @ np.stack(levels) / weights.sum()
    same_value(losses.hierarchical_context(s, t), expected)
    turned = losses.hierarchical_context(s.swapaxes(1, 2), t.swapaxes(1, 2))
    same_value(turned, expected)


ROWS = STUDENT[:, 0, 0], TEACHER[:, 0, 0]
LOSSES = {
    "hint": (losses.hint, squares),
    "variational": (
        lambda s, t: losses.variational_information(s, t, LOG_SCALE),
        lambda s, t: gaussian(s, t, LOG_SCALE),
    ),
    "context": (losses.hierarchical_context, context),
    "context_sizes": (functools.partial(losses.hierarchical_context, sizes=(2, 9, 3)), functools.partial(context, sizes=(2, 9, 3))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_oracle(name):
    loss, expected = LOSSES[name]
    same_value(loss(STUDENT, TEACHER), expected(STUDENT, TEACHER))
    gradient = value_and_grad(lambda s: jnp.sum(loss(s, TEACHER)))(STUDENT)[1]
    same_gradient(gradient, differences(lambda s: expected(s, TEACHER).sum(), STUDENT))


@pytest.mark.parametrize("name", ["hint", "variational"])
def test_rows_oracle(name):
    loss, expected = LOSSES[name]
    same_value(loss(*ROWS), expected(*ROWS))


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_stops_at_the_teacher(name):
    assert not jax.grad(lambda t: jnp.sum(LOSSES[name][0](STUDENT, t)))(TEACHER).any()


@pytest.mark.parametrize("name", LOSSES)
def test_equal_and_extreme_features(name):
    loss, expected = LOSSES[name]
    both = value_and_grad(lambda s, t: jnp.sum(loss(s, t)))
    value, gradient = both(TEACHER, TEACHER)
    same_gradient(value, expected(TEACHER, TEACHER).sum(), 1e-6)
    assert not gradient.any()
    for s, t in ((STUDENT * 1e4, -TEACHER * 1e4), (STUDENT * 1e-30, TEACHER * 0), (STUDENT * 0, TEACHER)):
        value, gradient = both(s, t)
        same_value(value, expected(s, t).sum())
        assert jnp.all(jnp.isfinite(gradient))


def test_variational_information_extreme_scales():
    for log_scale in (-1e4, 1e4):
        both = value_and_grad(lambda z: jnp.sum(losses.variational_information(STUDENT, TEACHER, z)))
        value, gradient = both(jnp.full(3, log_scale))
        assert jnp.isfinite(value)
        assert jnp.all(jnp.isfinite(gradient))


def test_variational_information_pools_the_larger_map():
    small, large = STUDENT[:, :3, :2], TEACHER
    same_value(losses.variational_information(small, large, LOG_SCALE), gaussian(small, pooled(large, 3, 2), LOG_SCALE))
    same_value(losses.variational_information(large, small, LOG_SCALE), gaussian(pooled(large, 3, 2), small, LOG_SCALE))


def test_variational_information_epsilon_under_vmap():
    swept = jax.vmap(lambda e: losses.variational_information(STUDENT, TEACHER, LOG_SCALE, epsilon=e))(jnp.array([1e-5, 1.0]))
    same_value(swept, np.stack([gaussian(STUDENT, TEACHER, LOG_SCALE, e) for e in (1e-5, 1.0)]))


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16(name):
    bfloat16_reduces_in_float32(LOSSES[name][0], STUDENT, TEACHER)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.hint(LOG_SCALE, LOG_SCALE), ["student", "(3,)", "[B, ..., C]"]),
        (lambda: losses.hint(STUDENT, TEACHER[:1]), ["teacher", "(1, 5, 6, 3)", "student", "(2, 5, 6, 3)"]),
        (lambda: losses.variational_information(*ROWS, LOG_SCALE[:2]), ["log_scale", "(2,)", "mean", "(2, 3)"]),
        (lambda: losses.variational_information(STUDENT, TEACHER[..., :2], LOG_SCALE), ["teacher", "(2, 5, 6, 2)", "mean"]),
        (lambda: losses.variational_information(STUDENT, ROWS[1], LOG_SCALE), ["teacher", "(2, 3)", "mean"]),
        (lambda: losses.variational_information(*ROWS, LOG_SCALE, epsilon=0), ["epsilon=0", "above 0"]),
        (lambda: losses.hierarchical_context(*ROWS), ["student", "(2, 3)", "[B, H, W, C]"]),
        (lambda: losses.hierarchical_context(STUDENT, TEACHER[:, :4]), ["teacher", "(2, 4, 6, 3)", "student"]),
        (lambda: losses.hierarchical_context(STUDENT, TEACHER, sizes=(4, 0)), ["sizes=(4, 0)", "above 0"]),
        (lambda: losses.hierarchical_context(STUDENT, TEACHER, sizes=2), ["sizes=2"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
