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

RNG = np.random.default_rng(4)
STUDENT = RNG.normal(size=(4, 6, 5)).astype(np.float32)
TEACHER = RNG.normal(size=(2, 6, 5)).astype(np.float32)
CENTRE = RNG.normal(size=5).astype(np.float32) / 5
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)
OPTIONS = {"student_temperature": 0.1, "teacher_temperature": 0.05}


def pairs(student, teacher, centre, student_temperature, teacher_temperature):
    """The loss, a pair of views at a time."""
    p = softmax((np.float64(teacher) - np.float64(centre)) / teacher_temperature)
    log_p = log_softmax(np.float64(student) / student_temperature)
    each = [-(p[a] * log_p[v]).sum(-1).mean() for a in range(len(p)) for v in range(len(log_p)) if v != a]
    return np.mean(each)


@pytest.mark.parametrize(("name", "crops"), [("solo_learn/dino", 2), ("official_ssl/dino", 4)])
def test_golden_with_the_centre_of_before(golden, name, crops):
    g = golden(name)
    whole = int(g["hp_warmup_teacher_temp_epochs"])
    first, last = float(g["hp_warmup_teacher_temp"]), float(g["hp_teacher_temp"])
    options = {
        "student_temperature": float(g["hp_student_temp"]),
        "teacher_temperature": first + (last - first) * int(g["hp_epoch"]) / (whole - 1),
    }
    teacher = g["teacher_out"].reshape(2, -1, 8)

    def loss(rows):
        return losses.dino(rows.reshape(crops, -1, 8), teacher, g["center"], **options)

    value, gradient = value_and_grad(loss)(g["student_out"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_student_out"])
    same_value(losses.dino_centre(g["center"], teacher, momentum=float(g["hp_center_momentum"])), g["center_after"])


@pytest.mark.parametrize("given", [1, 2, 4])
def test_oracle(given):
    teacher = RNG.normal(size=(given, 6, 5)).astype(np.float32)
    value, gradient = value_and_grad(lambda s: losses.dino(s, teacher, CENTRE, **OPTIONS))(STUDENT)
    same_value(value, pairs(STUDENT, teacher, CENTRE, 0.1, 0.05))
    same_gradient(gradient, differences(lambda s: pairs(s, teacher, CENTRE, 0.1, 0.05), STUDENT))


def test_no_gradient_reaches_teacher_or_centre():
    both = jax.jit(jax.grad(lambda t, c: losses.dino(STUDENT, t, c, **OPTIONS), argnums=(0, 1)))(TEACHER, CENTRE)
    assert not any(g.any() for g in both)
    assert not jax.grad(lambda t: jnp.sum(losses.dino_centre(CENTRE, t) ** 2))(TEACHER).any()


def test_a_local_crop_gives_no_target_and_a_global_one_not_its_own():
    """With one view of the teacher the student's own first view does not matter, every other does."""
    gradient = jax.jit(jax.grad(lambda s: losses.dino(s, TEACHER[:1], CENTRE, **OPTIONS)))(STUDENT)
    assert [bool(g.any()) for g in gradient] == [False, True, True, True]


def test_extreme_and_masked_logits():
    student, teacher = np.stack([EXTREME, EXTREME[::-1], EXTREME[:, ::-1]]), np.stack([EXTREME[::-1], EXTREME])
    both = value_and_grad(lambda s, t, c: losses.dino(s, t, c, **OPTIONS))
    value, gradient = both(student, teacher, np.zeros(3, np.float32))
    same_value(value, pairs(student, teacher, np.zeros(3), 0.1, 0.05))
    assert jnp.all(jnp.isfinite(gradient))

    # The last class masked on both sides is as if it were not there; also where its centre has followed.
    masked = [np.concatenate([x, np.full_like(x[..., :1], -np.inf)], axis=-1) for x in (STUDENT, TEACHER)]
    for last in (0.0, -np.inf):
        value, gradient = both(*masked, np.append(CENTRE, np.float32(last)))
        same_value(value, pairs(STUDENT, TEACHER, CENTRE, 0.1, 0.05))
        assert jnp.all(jnp.isfinite(gradient))
        assert not gradient[..., -1].any()


def test_equal_and_zero_views():
    zero = np.zeros_like(STUDENT)
    value, gradient = value_and_grad(lambda s: losses.dino(s, zero[:2], np.zeros(5), **OPTIONS))(zero)
    same_value(value, np.log(5))
    assert jnp.max(jnp.abs(gradient)) < 1e-6


def test_the_centre_follows_the_mean_of_all_views_and_rows():
    same_value(losses.dino_centre(CENTRE, TEACHER, momentum=0.8), 0.8 * CENTRE + 0.2 * np.float64(TEACHER).mean((0, 1)))
    same_value(losses.dino_centre(CENTRE, TEACHER, momentum=1.0), np.float64(CENTRE))
    same_value(losses.dino_centre(CENTRE, TEACHER, momentum=0.0), np.float64(TEACHER).mean((0, 1)), 1e-4)
    assert losses.dino_centre(jnp.zeros(5, jnp.bfloat16), TEACHER).dtype == jnp.bfloat16


def test_two_halves_equal_the_whole():
    rows = np.concatenate([STUDENT, TEACHER]).swapaxes(0, 1)
    halves_equal_whole(of_rows, rows)


def of_rows(x, axis_name):
    """Of rows first, as devices share them out."""
    views = jnp.swapaxes(x, 0, 1)
    return losses.dino(views[:4], views[4:], CENTRE, axis_name=axis_name, **OPTIONS)


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda s, t: losses.dino(s, t, CENTRE, **OPTIONS), STUDENT, TEACHER)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.dino(STUDENT, TEACHER, CENTRE, student_temperature=0.1, teacher_temperature=0), ["teacher_temperature=0"]),
        (lambda: losses.dino(STUDENT, TEACHER, CENTRE, student_temperature=-1, teacher_temperature=1), ["student_temperature=-1"]),
        (lambda: losses.dino(STUDENT, TEACHER[:0], CENTRE, **OPTIONS), ["teacher has 0 views", "student 4", "1 to 4"]),
        (lambda: losses.dino(STUDENT[:2], STUDENT, CENTRE, **OPTIONS), ["teacher has 4 views", "student 2"]),
        (lambda: losses.dino(STUDENT[:1], TEACHER[:1], CENTRE, **OPTIONS), ["student has 1 view", "2 views or more"]),
        (lambda: losses.dino(STUDENT[0], TEACHER, CENTRE, **OPTIONS), ["student", "(6, 5)", "[V, B, K]"]),
        (lambda: losses.dino(STUDENT, TEACHER[:, :3], CENTRE, **OPTIONS), ["teacher", "(2, 3, 5)", "same B"]),
        (lambda: losses.dino(STUDENT, TEACHER, CENTRE[:4], **OPTIONS), ["centre", "(4,)", "same K"]),
        (lambda: losses.dino_centre(CENTRE[:4], TEACHER), ["teacher", "(2, 6, 5)", "centre", "(4,)"]),
        (lambda: losses.dino_centre(CENTRE, TEACHER, momentum=1.1), ["momentum=1.1", "[0, 1]"]),
    ],
)
def test_refused_in_one_line(call, words):
    refused(call, words)
