import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    log_softmax,
    refused,
    same_gradient,
    same_value,
    softmax,
    value_and_grad,
)

from kdjax import losses

RNG = np.random.default_rng(8)
LABELS = np.array([0, 2])
BRANCHES = [RNG.normal(size=(8, 12)).astype(np.float32) * 2 for _ in range(2)]
STUDENT, TEACHER = ([RNG.normal(size=(5, k)).astype(np.float32) * 2 for k in (7, 3)] for _ in range(2))
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)


def kl(s, t, temperature):
    log_s, log_t = log_softmax(np.float64(s) / temperature), log_softmax(np.float64(t) / temperature)
    return temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)


def test_student_golden(golden):
    g = golden("hsakd/student")
    rotations = int(g["hp_num_rotations"])
    distil = functools.partial(losses.hierarchical_distillation, temperature=float(g["hp_temperature"]))
    teacher = [g["ss_t0"], g["ss_t1"], g["logits_t"]]

    def loss(logits, *branches):
        hard = jnp.mean(losses.cross_entropy(logits[::rotations], g["labels"]))
        return hard + jnp.mean(distil([*branches, logits], teacher))

    value, gradients = value_and_grad(loss, argnums=(0, 1, 2))(g["logits_s"], g["ss_s0"], g["ss_s1"])
    same_value(value, g["loss"])
    for gradient, name in zip(gradients, ("logits_s", "ss_s0", "ss_s1"), strict=True):
        same_gradient(gradient, g[f"grad_{name}"])
    for i, expected in enumerate(g["loss_kl_per_branch"]):
        same_value(jnp.mean(distil([g[f"ss_s{i}"]], [g[f"ss_t{i}"]])), expected)
    same_value(jnp.mean(distil([g["logits_s"]], [g["logits_t"]])), g["loss_kl_final"])


def test_teacher_golden(golden):
    g = golden("hsakd/teacher")
    np.testing.assert_array_equal(losses.joint_labels(g["labels"]), g["joint_labels"])

    def loss(logits, *branches):
        hard = jnp.mean(losses.cross_entropy(logits[:: int(g["hp_num_rotations"])], g["labels"]))
        return hard + jnp.mean(losses.joint_cross_entropy(branches, g["labels"]))

    value, gradients = value_and_grad(loss, argnums=(0, 1, 2))(g["logits_s"], g["ss_s0"], g["ss_s1"])
    same_value(value, g["loss"])
    for gradient, name in zip(gradients, ("logits_s", "ss_s0", "ss_s1"), strict=True):
        same_gradient(gradient, g[f"grad_{name}"])


def test_joint_labels():
    # A small integer type would overflow at 4 * 80.
    joint = losses.joint_labels(np.array([1, 80], np.uint8))
    assert joint.dtype == jnp.int32
    assert joint.tolist() == [4, 5, 6, 7, 320, 321, 322, 323]
    assert losses.joint_labels(np.array([2]), rotations=1).tolist() == [2]
    assert max(losses.joint_labels(np.array([-1]))) < 0


def test_joint_cross_entropy_oracle():
    joint = np.array([0, 1, 2, 3, 8, 9, 10, 11])
    expected = -sum(log_softmax(x)[np.arange(8), joint] for x in BRANCHES)
    same_value(losses.joint_cross_entropy(BRANCHES, LABELS), expected)
    gradients = jax.jit(jax.grad(lambda x: jnp.sum(losses.joint_cross_entropy(x, LABELS))))(BRANCHES)
    for gradient, x in zip(gradients, BRANCHES, strict=True):
        same_gradient(gradient, softmax(x) - np.eye(12)[joint])


def test_other_numbers_of_rotations():
    two = losses.joint_cross_entropy([BRANCHES[0]], np.array([0, 5, 2, 1]))
    same_value(two, -log_softmax(BRANCHES[0])[np.arange(8), [0, 1, 10, 11, 4, 5, 2, 3]])


def test_distillation_oracle():
    loss = functools.partial(losses.hierarchical_distillation, temperature=2.0)
    same_value(loss(STUDENT, TEACHER), sum(kl(s, t, 2.0) for s, t in zip(STUDENT, TEACHER, strict=True)), 2e-5)
    gradients = jax.jit(jax.grad(lambda s: jnp.sum(loss(s, TEACHER))))(STUDENT)
    for gradient, s, t in zip(gradients, STUDENT, TEACHER, strict=True):
        same_gradient(gradient, differences(lambda x, t=t: kl(x, t, 2.0).sum(), s))
    by_default = losses.hierarchical_distillation(STUDENT, TEACHER)
    same_value(by_default, sum(kl(s, t, 3.0) for s, t in zip(STUDENT, TEACHER, strict=True)), 2e-5)


def test_stops_at_the_teacher():
    gradients = jax.grad(lambda t: jnp.sum(losses.hierarchical_distillation(STUDENT, t)))(TEACHER)
    assert not any(g.any() for g in gradients)


def test_temperature_under_vmap():
    swept = jax.vmap(lambda t: losses.hierarchical_distillation(STUDENT, TEACHER, temperature=t))(jnp.array([1.0, 3.0]))
    pairs = list(zip(STUDENT, TEACHER, strict=True))
    same_value(swept, np.stack([sum(kl(s, t, T) for s, t in pairs) for T in (1.0, 3.0)]), 2e-5)


def test_extreme_and_equal_logits():
    both = value_and_grad(lambda s, t: jnp.sum(losses.hierarchical_distillation([s, s], [t, t], temperature=1.0)))
    for student in (EXTREME, EXTREME[::-1].copy()):
        value, gradient = both(student, EXTREME)
        same_value(value, 2 * kl(student, EXTREME, 1.0).sum())
        assert jnp.all(jnp.isfinite(gradient))
    value, gradient = both(EXTREME, EXTREME)
    assert value == 0
    assert jnp.max(jnp.abs(gradient)) < 1e-5
    four = np.concatenate([EXTREME, EXTREME[:, :1]], axis=1)
    value, gradient = value_and_grad(lambda x: jnp.sum(losses.joint_cross_entropy([x], np.array([0]))))(four)
    same_value(value, -np.trace(log_softmax(four)))
    assert jnp.all(jnp.isfinite(gradient))


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda s, t: losses.hierarchical_distillation([s, s], [t, t]), STUDENT[0], TEACHER[0])
    bfloat16_reduces_in_float32(lambda x: losses.joint_cross_entropy([x, x], LABELS), BRANCHES[0])


X, Y = np.zeros((8, 12), np.float32), np.array([0, 1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.joint_labels(X), ["labels", "(8, 12)", "[B]"]),
        (lambda: losses.joint_labels(np.zeros(2)), ["labels", "float", "integer"]),
        (lambda: losses.joint_labels(Y, rotations=0), ["rotations=0", "1 or more"]),
        (lambda: losses.joint_labels(Y, rotations=True), ["rotations=True"]),
        (lambda: losses.joint_cross_entropy([], Y), ["branches", "0 entries"]),
        (lambda: losses.joint_cross_entropy([X, X[:4]], Y), ["branches[1]", "(4, 12)", "(8, 12)"]),
        (lambda: losses.joint_cross_entropy([X], np.arange(3)), ["branches[0]", "(8, 12)", "labels", "(3,)"]),
        (lambda: losses.joint_cross_entropy([X[:, :10]], Y), ["branches[0]", "(8, 10)", "labels", "(2,)"]),
        (lambda: losses.joint_cross_entropy([X], np.arange(9)), ["branches[0]", "labels", "(9,)"]),
        (lambda: losses.joint_cross_entropy([X], np.array([], np.int32)), ["branches[0]", "labels", "(0,)"]),
        (lambda: losses.joint_cross_entropy([X], X), ["labels", "(8, 12)"]),
        (lambda: losses.hierarchical_distillation([], []), ["0 exits"]),
        (lambda: losses.hierarchical_distillation([X], [X, X]), ["student has 1", "teacher has 2"]),
        (lambda: losses.hierarchical_distillation([X, X[:4]], [X, X[:4]]), ["student[1]", "(4, 12)"]),
        (lambda: losses.hierarchical_distillation([X], [X[:, :3]]), ["teacher[0]", "(8, 3)", "student[0]"]),
        (lambda: losses.hierarchical_distillation([X], [X], temperature=0), ["temperature=0"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
