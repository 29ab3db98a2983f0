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

RNG = np.random.default_rng(6)
VIEWS = RNG.normal(size=(4, 6, 5)).astype(np.float32) * 2  # student weak, strong, teacher weak, strong
S_WEAK, S_STRONG, T_WEAK, T_STRONG = VIEWS
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)
PARTS = {"instance_weight": 0.0, "class_weight": 0.0, "batch_weight": 0.0}


def kl_rows(s, t, temperature):
    log_s, log_t = log_softmax(np.float64(s) / temperature), log_softmax(np.float64(t) / temperature)
    return temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)


def relations(s, t, temperature, transpose):
    s, t = softmax(np.float64(s) / temperature), softmax(np.float64(t) / temperature)
    if transpose:
        s, t = s.T, t.T
    return ((t @ t.T - s @ s.T) ** 2).sum(-1)


def levels(s_weak, s_strong, t_weak, t_strong, temperature=4.0, per_row=False):
    p = softmax(t_weak)
    sure, often = p.max(-1), p.sum(0)
    if per_row:
        m, m_c = sure >= np.median(sure), often >= np.median(often)
    else:
        m, m_c = np.mean(sure <= np.median(sure)), np.mean(often <= np.median(often))
    some = [temperature, 2, 3, 5, 6]
    instance = sum((m * kl_rows(s_weak, t_weak, t)).mean() for t in some)
    instance += sum(kl_rows(s_strong, t_strong, t).mean() for t in (temperature, 3, 5))
    instance += sum(kl_rows(s_weak, t_weak, t).mean() for t in (2, 6))
    classes = sum((m_c * relations(s_weak, t_weak, t, True)).mean() for t in some)
    rows = sum((m * relations(s_weak, t_weak, t, False)).mean() for t in some)
    return np.array([instance, classes, rows])


def test_parts_golden(golden):
    g = golden("mlkd/parts")
    t = float(g["hp_temperature"])

    def loss(s):
        parts = {
            "kd": jnp.mean(losses.kl_distillation(s, g["logits_t"], temperature=t)),
            "cc": losses.class_correlation(s, g["logits_t"], temperature=t),
            "bc": losses.batch_correlation(s, g["logits_t"], temperature=t),
        }
        return sum(parts.values()), parts

    (value, parts), gradient = value_and_grad(loss, has_aux=True)(g["logits_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])
    for name, part in parts.items():
        same_value(part, g[f"loss_{name}"])


def test_whole_golden(golden):
    g = golden("mlkd/forward_train")
    weight = float(g["hp_kd_weight"])
    teacher = g["logits_t_weak"], g["logits_t_strong"]
    options = {"temperature": float(g["hp_temperature"])}

    def loss(weak, strong):
        hard = sum(jnp.mean(losses.cross_entropy(z, g["labels"])) for z in (weak, strong))
        return float(g["hp_ce_weight"]) * hard + weight * losses.multi_level(weak, strong, *teacher, **options)

    value, (weak, strong) = value_and_grad(loss, argnums=(0, 1))(g["logits_s_weak"], g["logits_s_strong"])
    same_value(value, g["loss"])
    same_gradient(weak, g["grad_logits_s_weak"])
    same_gradient(strong, g["grad_logits_s_strong"])
    views = (g["logits_s_weak"], g["logits_s_strong"], *teacher)
    for part, name in (("instance", "kd"), ("class", "cc"), ("batch", "bc")):
        alone = losses.multi_level(*views, **options, **{**PARTS, f"{part}_weight": weight})
        same_value(alone, g[f"loss_{name}"])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("which", ["class_correlation", "batch_correlation"])
def test_relations_oracle(which, temperature):
    loss = functools.partial(getattr(losses, which), temperature=temperature)
    value, gradient = value_and_grad(loss)(S_WEAK, T_WEAK)

    def expected(s):
        return relations(s, T_WEAK, temperature, which == "class_correlation").mean()

    same_value(value, expected(S_WEAK))
    same_gradient(gradient, differences(expected, S_WEAK))


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("temperature", [1.5, 4.0])
def test_whole_oracle(per_row, temperature):
    weights = np.array([0.5, 2.0, 3.0])
    named = dict(zip(PARTS, weights, strict=True))
    loss = functools.partial(losses.multi_level, temperature=temperature, per_row=per_row, **named)
    value, (weak, strong) = value_and_grad(loss, argnums=(0, 1))(*VIEWS)

    def expected(s_weak, s_strong):
        return weights @ levels(s_weak, s_strong, T_WEAK, T_STRONG, temperature, per_row)

    same_value(value, expected(S_WEAK, S_STRONG))
    same_gradient(weak, differences(lambda s: expected(s, S_STRONG), S_WEAK))
    same_gradient(strong, differences(lambda s: expected(S_WEAK, s), S_STRONG))


def test_the_masks_are_half_of_the_batch():
    # Five classes, so that the medians of rows and classes are told apart: 3 of 6 rows, 3 of 5 classes.
    for per_row in (False, True):
        parts = [float(losses.multi_level(*VIEWS, per_row=per_row, **{**PARTS, name: 1.0})) for name in PARTS]
        np.testing.assert_allclose(parts, levels(*VIEWS, per_row=per_row), rtol=1e-5)
    assert abs(levels(*VIEWS)[0] - levels(*VIEWS, per_row=True)[0]) > 0.01


def test_stops_at_the_teacher():
    weak, strong = jax.grad(losses.multi_level, argnums=(2, 3))(*VIEWS)
    assert not weak.any() and not strong.any()
    for loss in (losses.class_correlation, losses.batch_correlation):
        assert not jax.grad(functools.partial(loss, temperature=2.0), argnums=1)(S_WEAK, T_WEAK).any()


@pytest.mark.parametrize("per_row", [False, True])
def test_halves_equal_whole(per_row):
    def loss(views, axis_name):
        parts = (views[..., i] for i in range(4))
        return losses.multi_level(*parts, per_row=per_row, class_weight=20.0, batch_weight=20.0, axis_name=axis_name)

    halves_equal_whole(loss, np.moveaxis(VIEWS, 0, -1))


@pytest.mark.parametrize("which", ["class_correlation", "batch_correlation"])
def test_halves_of_relations_equal_whole(which):
    loss = functools.partial(getattr(losses, which), temperature=2.0)
    halves_equal_whole(
        lambda both, axis_name: loss(both[..., 0], both[..., 1], axis_name=axis_name), np.stack([S_WEAK, T_WEAK], axis=-1)
    )


def test_options_under_vmap():
    swept = jax.vmap(
        lambda t, i, c, b: losses.multi_level(*VIEWS, temperature=t, instance_weight=i, class_weight=c, batch_weight=b)
    )(jnp.array([4.0, 1.0]), jnp.array([1.0, 0.0]), jnp.array([1.0, 2.0]), jnp.array([1.0, 0.5]))
    same_value(swept, np.array([levels(*VIEWS).sum(), levels(*VIEWS, temperature=1.0) @ [0, 2, 0.5]]))


def test_extreme_and_equal_logits():
    # T = 2 comes twice, which T does not; no weight hides another part.
    for per_row in (False, True):
        loss = functools.partial(losses.multi_level, temperature=1.0, per_row=per_row)
        both = value_and_grad(loss, argnums=(0, 1))
        other = EXTREME[::-1].copy()
        for student in (EXTREME, other):
            value, gradients = both(student, student, EXTREME, other)
            same_value(value, levels(student, student, EXTREME, other, 1.0, per_row).sum())
            assert all(jnp.all(jnp.isfinite(g)) for g in gradients)
        value, gradients = both(EXTREME, other, EXTREME, other)
        assert value == 0
        assert all(jnp.max(jnp.abs(g)) < 1e-5 for g in gradients)


def test_bfloat16():
    bfloat16_reduces_in_float32(losses.multi_level, *VIEWS)
    for loss in (losses.class_correlation, losses.batch_correlation):
        bfloat16_reduces_in_float32(functools.partial(loss, temperature=2.0), S_WEAK, T_WEAK)


X = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.class_correlation(X[0], X[0], temperature=1), ["student", "(3,)"]),
        (lambda: losses.class_correlation(X, X, temperature=0), ["temperature=0"]),
        (lambda: losses.batch_correlation(X, X[:1], temperature=1), ["teacher", "(1, 3)"]),
        (lambda: losses.batch_correlation(X, X, temperature="2"), ["temperature='2'"]),
        (lambda: losses.multi_level(X, X[:1], X, X), ["student_strong", "(1, 3)", "student_weak", "(2, 3)"]),
        (lambda: losses.multi_level(X, X, X, X.T), ["teacher_strong", "(3, 2)"]),
        (lambda: losses.multi_level(X, X, X, X, temperature=-1), ["temperature=-1"]),
        (lambda: losses.multi_level(X, X, X, X, class_weight=-1), ["class_weight=-1", "at least 0"]),
        (lambda: losses.multi_level(X, X, X, X, per_row=1), ["per_row=1", "True or False"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
