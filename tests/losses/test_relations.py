import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, halves_equal_whole, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(6)
STUDENT = RNG.normal(size=(6, 4)).astype(np.float32)
TEACHER = RNG.normal(size=(6, 5)).astype(np.float32)
MAPS = RNG.normal(size=(6, 3, 2, 3)).astype(np.float32)


def normal(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)


def similarity(s, t):
    a, b = (normal(x @ x.T) for x in (np.float64(x).reshape(len(x), -1) for x in (s, t)))
    return ((a - b) ** 2).sum() / len(s) ** 2


def congruence(s, t):
    apart = np.abs(np.float64(s) - np.float64(t))
    return np.mean([apart[i] @ apart[i + 1] for i in range(len(s) - 1)])


def kernels(s, t, gamma=0.4):
    def kernel(x):
        c = normal(np.float64(x)) @ normal(np.float64(x)).T
        return np.exp(-2 * gamma) * sum((2 * gamma * c) ** p / f for p, f in ((0, 1), (1, 1), (2, 2)))

    return ((kernel(s) - kernel(t)) ** 2).sum() / len(s) ** 2


def probabilities(s, t, variant="mean"):
    def likely(x):
        x = np.float64(x)
        x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-7)
        p = (x @ x.T + 1) / 2
        if variant == "paper":
            np.fill_diagonal(p, 0)
        return p / p.sum(1, keepdims=True)

    p_s, p_t = likely(s), likely(t)
    terms = p_t * np.log((p_t + 1e-7) / (p_s + 1e-7))
    return terms.mean() if variant == "mean" else terms.sum()


def test_similarity_preserving_golden(golden):
    g = golden("repdistiller/sp")

    def total(student):
        each = jnp.stack([losses.similarity_preserving(f, g[f"f_t{i}"]) for i, f in enumerate(student)])
        return jnp.sum(each), each

    (value, each), gradients = value_and_grad(total, has_aux=True)([g["f_s0"], g["f_s1"]])
    same_value(each, g["loss_per_layer"])
    same_value(value, g["loss"])
    for i, gradient in enumerate(gradients):
        same_gradient(gradient, g[f"grad_f_s{i}"])


def test_correlation_congruence_golden_through_embeddings(golden):
    g = golden("repdistiller/cc")

    def embed(f, side):
        return f @ g[f"w_embed_{side}_kernel"] + g[f"w_embed_{side}_bias"][None]

    value, gradient = value_and_grad(lambda f: losses.correlation_congruence(embed(f, "s"), embed(g["f_t"], "t")))(g["f_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_f_s"])


def test_probabilistic_transfer_golden(golden):
    g = golden("repdistiller/pkt")
    value, gradient = value_and_grad(losses.probabilistic_transfer)(g["f_s"], g["f_t"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_f_s"])


LOSSES = {
    "sp": (losses.similarity_preserving, similarity),
    "cc": (losses.correlation_congruence, congruence),
    "cc_paper": (functools.partial(losses.correlation_congruence, variant="paper"), kernels),
    "pkt": (losses.probabilistic_transfer, probabilities),
    "pkt_paper": (
        functools.partial(losses.probabilistic_transfer, variant="paper"),
        functools.partial(probabilities, variant="paper"),
    ),
}
TEACHERS = {name: TEACHER[:, :4] if name.startswith("cc") else TEACHER for name in LOSSES}


@pytest.mark.parametrize("name", LOSSES)
def test_oracle(name):
    (loss, expected), teacher = LOSSES[name], TEACHERS[name]
    value, gradient = value_and_grad(lambda s: loss(s, teacher))(STUDENT)
    same_value(value, expected(STUDENT, teacher), 2e-5)
    same_gradient(gradient, differences(lambda s: expected(s, teacher), STUDENT))


def test_similarity_preserving_of_maps():
    value, gradient = value_and_grad(losses.similarity_preserving)(MAPS, TEACHER)
    same_value(value, similarity(MAPS, TEACHER), 2e-5)
    same_gradient(gradient, differences(lambda s: similarity(s, TEACHER), MAPS))


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_sides(name):
    loss, teacher = LOSSES[name][0], TEACHERS[name]
    moved = jax.grad(lambda t: loss(STUDENT, t))(teacher)
    if name.startswith("cc"):  # the teacher's embedding is trained
        same_gradient(moved, differences(lambda t: LOSSES[name][1](STUDENT, t), teacher))
        moved = jax.grad(lambda t: loss(STUDENT, t, stop_teacher=True))(teacher)
    assert not moved.any()


@pytest.mark.parametrize("name", LOSSES)
def test_two_halves_equal_the_whole(name):
    loss, width = LOSSES[name][0], STUDENT.shape[1]
    both = np.concatenate([STUDENT, TEACHERS[name]], axis=1)
    halves_equal_whole(lambda x, axis_name: loss(x[:, :width], x[:, width:], axis_name=axis_name), both)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_rows_and_networks(name):
    for x in (STUDENT, STUDENT * 1e4, np.zeros_like(STUDENT), np.ones_like(STUDENT)):
        value, gradient = value_and_grad(lambda s, t: LOSSES[name][0](s, t))(x, x)
        assert abs(value) < 1e-6
        assert jnp.max(jnp.abs(gradient)) < 1e-6


@pytest.mark.parametrize("name", LOSSES)
def test_a_row_of_zeros_is_not_pulled(name):
    loss, teacher = LOSSES[name][0], TEACHERS[name]
    hole = STUDENT.copy()
    hole[2] = 0
    gradient = jax.grad(lambda s: loss(s, teacher))(hole)
    plain = jax.grad(lambda s: loss(s, teacher))(STUDENT)
    assert jnp.max(jnp.abs(gradient)) < 10 * jnp.max(jnp.abs(plain))
    if name not in ("cc", "sp"):  # of which the one takes no directions, and the other those of the products with other rows
        assert not gradient[2].any()


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_rows(name):
    (loss, expected), teacher = LOSSES[name], TEACHERS[name]
    hole, twins, against = STUDENT.copy(), STUDENT.copy(), STUDENT.copy()
    hole[2], twins[3], against[3] = 0, twins[1], -against[2]
    zero, ones = np.zeros_like(STUDENT), np.ones_like(STUDENT)
    for s in (hole, twins, against, zero, ones, STUDENT * 1e4, STUDENT * 1e-4):
        for t in (teacher, np.zeros_like(teacher)):
            value, gradient = value_and_grad(lambda s, t: loss(s, t))(s, t)
            # A cosine near -1 has an error of 6e-8 in float32, which shows beside the 1e-7 under the logarithm.
            same_value(value, expected(s, t), 1e-2 if s is against and name.startswith("pkt") else 5e-5)
            assert jnp.all(jnp.isfinite(gradient))


def test_correlation_congruence_where_an_entry_agrees():
    gradient = jax.grad(losses.correlation_congruence)(jnp.array([[0.0], [2.0]]), jnp.array([[0.0], [1.0]]))
    same_gradient(gradient, np.array([[0], [0]]), 0.0)  # an absolute value of 0 pulls to neither side


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_one_or_two(name):
    for rows in (1, 2):
        s, t = STUDENT[:rows], TEACHERS[name][:rows]
        for student in (s, -t[:, :4], np.array([[1, 0, 0, 0], [-1, 0, 0, 0]], np.float32)[:rows]):
            value, gradient = value_and_grad(lambda s, t: LOSSES[name][0](s, t))(student, t)
            assert jnp.isfinite(value)
            assert jnp.all(jnp.isfinite(gradient))


def test_probabilities_of_opposite_rows_stay_positive():
    # Of many pairs some have a cosine that rounds to below -1.
    x = RNG.normal(size=(4000, 1, 7)).astype(np.float32) * 1e4
    loss = lambda s: losses.probabilistic_transfer(s, TEACHER[:2], variant="paper")  # noqa: E731
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(loss)))(np.concatenate([x, -x], axis=1))
    assert jnp.all(jnp.isfinite(values))
    assert jnp.all(jnp.isfinite(gradients))


def test_invariances():
    turn = np.linalg.qr(RNG.normal(size=(4, 4)))[0].astype(np.float32)
    for name in ("sp", "cc_paper", "pkt", "pkt_paper"):
        loss, teacher = LOSSES[name][0], TEACHERS[name]
        same_value(loss(3 * STUDENT @ turn, teacher), np.float64(loss(STUDENT, teacher)), 2e-5)


def test_gamma_under_vmap():
    swept = jax.vmap(lambda g: losses.correlation_congruence(STUDENT, TEACHER[:, :4], variant="paper", gamma=g))(
        jnp.array([0.4, 2.0])
    )
    same_value(swept, np.array([kernels(STUDENT, TEACHER[:, :4], g) for g in (0.4, 2.0)]), 2e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16(name):
    bfloat16_reduces_in_float32(LOSSES[name][0], STUDENT, TEACHERS[name])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.similarity_preserving(STUDENT[0], TEACHER), ["student", "(4,)", "[B, ..., C]"]),
        (lambda: losses.similarity_preserving(MAPS, TEACHER[:3]), ["teacher", "(3, 5)", "student", "same B"]),
        (lambda: losses.correlation_congruence(STUDENT, TEACHER), ["teacher", "(6, 5)", "student", "(6, 4)"]),
        (lambda: losses.correlation_congruence(STUDENT, STUDENT, variant="code"), ["variant='code'", "'paper'"]),
        (lambda: losses.correlation_congruence(STUDENT, STUDENT, gamma=0.0), ["gamma=0.0", "above 0"]),
        (lambda: losses.correlation_congruence(STUDENT, STUDENT, stop_teacher=1), ["stop_teacher=1", "True or False"]),
        (lambda: losses.probabilistic_transfer(MAPS, TEACHER), ["student", "(6, 3, 2, 3)", "[B, C]"]),
        (lambda: losses.probabilistic_transfer(STUDENT, TEACHER[:5]), ["teacher", "(5, 5)", "student", "same B"]),
        (lambda: losses.probabilistic_transfer(STUDENT, TEACHER, variant="kl"), ["variant='kl'", "'mean'"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
