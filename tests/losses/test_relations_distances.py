import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, halves_equal_whole, same_gradient, same_value, value_and_grad

from kdjax import losses
from kdjax.core.check import InputError
from kdjax.losses import relations

RNG = np.random.default_rng(7)
STUDENT = RNG.normal(size=(6, 4)).astype(np.float32)
TEACHER = RNG.normal(size=(6, 5)).astype(np.float32)


def huber(x):
    return np.where(np.abs(x) < 1, 0.5 * x**2, np.abs(x) - 0.5)


def distances(s, t):
    def relative(x):
        x = np.float64(x)
        d = np.sqrt(np.maximum(((x[:, None] - x[None]) ** 2).sum(-1), 1e-12))
        np.fill_diagonal(d, 0)
        return d / d[d > 0].mean() if (d > 0).any() else d

    return huber(relative(s) - relative(t)).mean()


def angles(s, t):
    def cosines(x):
        e = np.float64(x)[None] - np.float64(x)[:, None]
        e = e / np.maximum(np.linalg.norm(e, axis=-1, keepdims=True), 1e-300)
        return np.einsum("ijd,ikd->ijk", e, e)

    return huber(cosines(s) - cosines(t)).mean()


LOSSES = {"distance": (losses.relational_distance, distances), "angle": (losses.relational_angle, angles)}


def test_golden(golden):
    g = golden("repdistiller/rkd")
    for name in LOSSES:
        same_value(LOSSES[name][0](g["f_s"], g["f_t"]), g[f"loss_{name}"])

    def loss(s):
        distance, angle = (LOSSES[name][0](s, g["f_t"]) for name in LOSSES)
        return g["hp_w_d"].item() * distance + g["hp_w_a"].item() * angle

    value, gradient = value_and_grad(loss)(g["f_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_f_s"])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("spread", [False, True])
def test_oracle(name, spread):
    loss, expected = LOSSES[name]
    student = STUDENT.copy()
    student[0] *= 50 if spread else 1  # far from the rest: the Huber function turns linear
    value, gradient = value_and_grad(lambda s: loss(s, TEACHER))(student)
    same_value(value, expected(student, TEACHER))
    same_gradient(gradient, differences(lambda s: expected(s, TEACHER), student))


def test_angles_by_groups_of_anchors(monkeypatch):
    whole = value_and_grad(lambda s: losses.relational_angle(s, TEACHER))(STUDENT)
    for group in (1, 4):  # 4 leaves a rest of 2
        monkeypatch.setattr(relations, "_ANCHORS", group)
        value, gradient = value_and_grad(lambda s: losses.relational_angle(s, TEACHER))(STUDENT)
        same_value(value, np.float64(whole[0]), 1e-6)
        same_gradient(gradient, np.float64(whole[1]), 1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_stops_at_the_teacher(name):
    assert not jax.grad(lambda t: LOSSES[name][0](STUDENT, t))(TEACHER).any()


@pytest.mark.parametrize("name", LOSSES)
def test_two_halves_equal_the_whole(name):
    both = np.concatenate([STUDENT, TEACHER], axis=1)
    halves_equal_whole(lambda x, axis_name: LOSSES[name][0](x[:, :4], x[:, 4:], axis_name=axis_name), both)


@pytest.mark.parametrize("name", LOSSES)
def test_blind_to_place_turn_and_scale(name):
    turn = np.linalg.qr(RNG.normal(size=(5, 5)))[0].astype(np.float32)
    for teacher in (TEACHER, 10 * TEACHER @ turn + 3):
        value, gradient = value_and_grad(lambda s, t: LOSSES[name][0](s, t))(TEACHER, teacher)
        assert 0 <= value < 1e-10
        assert jnp.max(jnp.abs(gradient)) < 1e-5


@pytest.mark.parametrize("name", LOSSES)
def test_equal_zero_and_extreme_rows(name):
    loss, expected = LOSSES[name]
    both = value_and_grad(lambda s, t: loss(s, t))
    twins = STUDENT.copy()
    twins[3] = twins[1]
    for s in (twins, np.zeros_like(STUDENT), np.ones_like(STUDENT), STUDENT * 1e4, STUDENT * 1e-3):
        for t in (TEACHER, np.zeros_like(TEACHER), TEACHER * 1e4):
            value, gradient = both(s, t)
            np.testing.assert_allclose(np.float64(value), expected(s, t), rtol=2e-5, atol=1e-12)
            assert jnp.all(jnp.isfinite(gradient))
    value, gradient = both(np.ones_like(STUDENT), TEACHER)
    assert not gradient.any()  # rows that are all equal have no direction to go


@pytest.mark.parametrize("name", LOSSES)
def test_a_single_row_has_no_relations(name):
    value, gradient = value_and_grad(lambda s: LOSSES[name][0](s, TEACHER[:1]))(STUDENT[:1])
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16(name):
    bfloat16_reduces_in_float32(LOSSES[name][0], STUDENT, TEACHER)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("s", "t", "words"),
    [
        (STUDENT[0], TEACHER, ["student", "(4,)", "[B, C]"]),
        (STUDENT, TEACHER[:, :, None], ["teacher", "(6, 5, 1)", "[B, D]"]),
        (STUDENT, TEACHER[:5], ["teacher", "(5, 5)", "student", "(6, 4)", "same B"]),
    ],
)
def test_bad_shapes_are_refused_in_one_line(name, s, t, words):
    with pytest.raises(InputError) as refused:
        LOSSES[name][0](s, t)
    message = str(refused.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
