import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, halves_equal_whole, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(9)
STUDENT, TEACHER = RNG.normal(size=(2, 4, 5)).astype(np.float32)
BANKS = RNG.normal(size=(2, 9, 5)).astype(np.float32) / 3
CONTRAST = np.stack([RNG.permutation(9)[:4] for _ in range(4)]).astype(np.int32)
CONSTANTS = np.log([30.0, 12.0]).astype(np.float32)  # log Z
LABELS = np.array([0, 1, 0, 2])


def unit(x):
    x = np.float64(x)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def scores(s, t, temperature=0.07):
    return [
        np.exp(np.einsum("bkd,bd->bk", np.float64(bank)[CONTRAST], unit(anchor)) / temperature)
        for anchor, bank in ((s, BANKS[1]), (t, BANKS[0]))
    ]


def nce(s, t, constants=CONSTANTS, temperature=0.07):
    rows, noise = 0.0, (CONTRAST.shape[1] - 1) / len(BANKS[0])
    for u, z in zip(scores(s, t, temperature), np.exp(np.float64(constants)), strict=True):
        x = u / z
        positive, negative = x[:, 0] / (x[:, 0] + noise + 1e-7), noise / (x[:, 1:] + noise + 1e-7)
        rows = rows - np.log(positive) - np.log(negative).sum(1)
    return rows


def softmax_contrast(s, t, labels, temperature=0.07):
    total, s, t = 0.0, unit(s), unit(t)
    for anchor, other in ((s, t), (t, s)):
        for i, row in enumerate(np.exp(anchor @ other.T / temperature)):
            total -= np.log(row[i] / (row[i] + row[labels != labels[i]].sum()))
    return total / len(s)


def step(g, f_s, f_t, constants):
    """One step of the method on the reference file's features: its loss, the constants, the banks after it."""
    s = f_s @ g["w_embed_s_kernel"] + g["w_embed_s_bias"].reshape(1, -1)
    t = f_t @ g["w_embed_t_kernel"] + g["w_embed_t_bias"].reshape(1, -1)
    given = s, t, g["memory_v1"], g["memory_v2"], g["contrast_idx"]
    temperature, momentum = float(g["hp_nce_t"]), float(g["hp_nce_m"])
    constants = losses.crd_constants(*given, constants, temperature=temperature)
    loss = jnp.mean(losses.crd(*given, constants, temperature=temperature))
    banks = [losses.crd_update(g[f"memory_v{i}"], x, g["idx"], momentum=momentum) for i, x in ((1, s), (2, t))]
    return loss, (constants, banks)


@pytest.mark.parametrize("name", ["crd", "crd_later_step"])
def test_golden(golden, name):
    g = golden(f"repdistiller/{name}")
    before = [np.log(g[f"hp_z_v{i}_preset"]) for i in (1, 2)] if name == "crd_later_step" else [-1.0, -1.0]
    whole = functools.partial(step, g, constants=jnp.array(before))
    (value, (constants, banks)), (grad_s, grad_t) = value_and_grad(whole, argnums=(0, 1), has_aux=True)(g["f_s"], g["f_t"])
    same_value(value, g["loss"])
    same_gradient(grad_s, g["grad_f_s"])
    same_gradient(grad_t, g["grad_f_t"])
    same_value(jnp.exp(constants), np.stack([g["z_v1"], g["z_v2"]]))
    for bank, i in zip(banks, (1, 2), strict=True):
        same_gradient(bank, g[f"memory_v{i}_after"], 1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_crd_oracle(temperature):
    loss = functools.partial(losses.crd, temperature=temperature)
    same_value(loss(STUDENT, TEACHER, *BANKS, CONTRAST, CONSTANTS), nce(STUDENT, TEACHER, temperature=temperature), 2e-5)
    whole = value_and_grad(lambda s, t: jnp.sum(loss(s, t, *BANKS, CONTRAST, CONSTANTS)), argnums=(0, 1))
    _, (grad_s, grad_t) = whole(STUDENT, TEACHER)
    same_gradient(grad_s, differences(lambda s: nce(s, TEACHER, temperature=temperature).sum(), STUDENT))
    same_gradient(grad_t, differences(lambda t: nce(STUDENT, t, temperature=temperature).sum(), TEACHER))


def test_value_where_all_rows_score_alike():
    k, n = 7, 50
    zero, bank, contrast = np.zeros((2, 3), np.float32), np.ones((n, 3), np.float32), np.arange(2 * (k + 1)).reshape(2, k + 1)
    constants = losses.crd_constants(zero, zero, bank, bank, contrast, -np.ones(2, np.float32))
    expected = 2 * (np.log(1 + k) + k * np.log(1 + 1 / k))
    same_value(losses.crd(zero, zero, bank, bank, contrast, constants), np.full(2, expected))


def first_constants(temperature=0.07):
    return np.log([9 * u.mean() for u in scores(STUDENT, TEACHER, temperature)])


def test_constants_are_set_once_each():
    given = STUDENT, TEACHER, *BANKS, CONTRAST
    first = first_constants()
    for before, expected in (([-1.0, -1.0], first), ([-1.0, 7.0], [first[0], 7.0]), ([-3.0, -1.0], [-3.0, first[1]])):
        same_value(losses.crd_constants(*given, np.float32(before)), np.array(expected))
    same_value(losses.crd_constants(*given, -np.ones(2, np.float32), temperature=0.5), first_constants(0.5))


@pytest.mark.parametrize("temperature", [0.005, 0.002])
def test_a_low_temperature_overflows_nowhere(temperature):
    given = STUDENT, TEACHER, *BANKS, CONTRAST
    constants = losses.crd_constants(*given, -np.ones(2, np.float32), temperature=temperature)
    same_value(constants, first_constants(temperature))
    value = losses.crd(*given, constants, temperature=temperature)
    same_value(value, nce(STUDENT, TEACHER, first_constants(temperature), temperature), 1e-4)


def test_constants_of_halves():
    def first(s, t, rows):
        return losses.crd_constants(s, t, *BANKS, rows, -jnp.ones(2), axis_name="data")

    halves = jax.vmap(first, axis_name="data")(*(x.reshape(2, 2, *x.shape[1:]) for x in (STUDENT, TEACHER, CONTRAST)))
    same_value(halves, np.stack([first_constants()] * 2))


def test_no_gradient_into_banks_and_constants():
    def loss(banks, constants):
        kept = losses.crd_constants(STUDENT, TEACHER, *banks, CONTRAST, constants)
        return jnp.sum(losses.crd(STUDENT, TEACHER, *banks, CONTRAST, kept))

    for before in (CONSTANTS, -np.ones(2, np.float32)):
        banks, constants = jax.grad(loss, argnums=(0, 1))(jnp.asarray(BANKS), jnp.asarray(before))
        assert not banks.any() and not constants.any()
    moved = jax.grad(lambda s: jnp.sum(losses.crd_constants(s, TEACHER, *BANKS, CONTRAST, -jnp.ones(2))))(STUDENT)
    assert not moved.any()


def test_only_directions_count():
    same_value(losses.crd(7 * STUDENT, 0.1 * TEACHER, *BANKS, CONTRAST, CONSTANTS), nce(STUDENT, TEACHER), 2e-5)
    same_value(losses.crd_in_batch(7 * STUDENT, 0.1 * TEACHER, LABELS), softmax_contrast(STUDENT, TEACHER, LABELS), 2e-5)


def test_row_outside_the_bank_shows():
    contrast = CONTRAST.copy()
    contrast[1, 2] = 9
    rows = losses.crd(STUDENT, TEACHER, *BANKS, contrast, CONSTANTS)
    np.testing.assert_array_equal(np.isnan(rows), [False, True, False, False])


@pytest.mark.parametrize("labels", [LABELS, np.arange(4)])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_in_batch_oracle(labels, temperature):
    loss = functools.partial(losses.crd_in_batch, labels=labels, temperature=temperature)
    value, (grad_s, grad_t) = value_and_grad(loss, argnums=(0, 1))(STUDENT, TEACHER)
    same_value(value, softmax_contrast(STUDENT, TEACHER, labels, temperature))
    same_gradient(grad_s, differences(lambda s: softmax_contrast(s, TEACHER, labels, temperature), STUDENT))
    same_gradient(grad_t, differences(lambda t: softmax_contrast(STUDENT, t, labels, temperature), TEACHER))


def test_in_batch_halves_equal_whole():
    def loss(both, axis_name):
        labels = jnp.round(both[:, 0, 2]).astype(jnp.int32)  # the labels travel with their rows
        return losses.crd_in_batch(both[..., 0], both[..., 1], labels, axis_name=axis_name)

    halves_equal_whole(loss, np.stack([STUDENT, TEACHER, np.repeat(LABELS[:, None], 5, 1).astype(np.float32)], axis=-1))


def test_in_batch_of_one_class_has_no_negatives():
    assert losses.crd_in_batch(STUDENT, TEACHER, np.zeros(4, int)) == 0


def test_temperature_under_vmap():
    temperatures = jnp.array([0.07, 0.5])
    swept = jax.vmap(lambda t: losses.crd(STUDENT, TEACHER, *BANKS, CONTRAST, CONSTANTS, temperature=t))(temperatures)
    same_value(swept, np.stack([nce(STUDENT, TEACHER, temperature=t) for t in (0.07, 0.5)]), 2e-5)
    swept = jax.vmap(lambda t: losses.crd_in_batch(STUDENT, TEACHER, LABELS, temperature=t))(temperatures)
    same_value(swept, np.array([softmax_contrast(STUDENT, TEACHER, LABELS, t) for t in (0.07, 0.5)]))


def test_extreme_zero_and_equal_embeddings():
    def bank(s, t):
        kept = losses.crd_constants(s, t, *BANKS, CONTRAST, jnp.array([-1.0, 1e-3]))
        return jnp.sum(losses.crd(s, t, *BANKS, CONTRAST, kept))

    def cold(s, t):
        return jnp.sum(losses.crd(s, t, 300 * BANKS[0], 300 * BANKS[1], CONTRAST, CONSTANTS))

    batch = functools.partial(losses.crd_in_batch, labels=LABELS)
    for loss in (bank, cold, batch):
        both = value_and_grad(loss, argnums=(0, 1))
        for s, t in ((1e4 * STUDENT, -1e4 * TEACHER), (STUDENT, STUDENT), (0 * STUDENT, TEACHER), (0 * STUDENT, 0 * TEACHER)):
            value, gradients = both(s, t)
            assert jnp.isfinite(value)
            assert all(jnp.all(jnp.isfinite(g)) for g in gradients)
    same_value(cold(1e4 * STUDENT, TEACHER), _cold(STUDENT, TEACHER), 1e-4)
    far = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]], np.float32) * 1e4
    value, gradient = value_and_grad(losses.crd_in_batch)(far, far, np.arange(4))
    assert value < 1e-5 and jnp.max(jnp.abs(gradient)) < 1e-6


def _cold(s, t):
    """Scores of some thousands, whose exponentials overflow: the logarithms of the formula, in float64."""
    total, noise = 0.0, 3 / 9
    for anchor, bank, z in ((s, BANKS[1], np.exp(CONSTANTS[0])), (t, BANKS[0], np.exp(CONSTANTS[1]))):
        log_x = np.einsum("bkd,bd->bk", 300 * np.float64(bank)[CONTRAST], unit(anchor)) / 0.07 - np.log(np.float64(z))
        log_sum = np.logaddexp(log_x, np.log(noise + 1e-7))
        total += (log_sum[:, 0] - log_x[:, 0]).sum() + (log_sum[:, 1:] - np.log(noise)).sum()
    return total


def test_bfloat16():
    def loss(s, t, first, second):
        kept = losses.crd_constants(s, t, first, second, CONTRAST, -jnp.ones(2))
        return losses.crd(s, t, first, second, CONTRAST, kept)

    bfloat16_reduces_in_float32(loss, STUDENT, TEACHER, *BANKS)
    bfloat16_reduces_in_float32(lambda s, t: losses.crd_in_batch(s, t, LABELS), STUDENT, TEACHER)


def crd(s=STUDENT, t=TEACHER, first=BANKS[0], second=BANKS[1], contrast=CONTRAST, constants=CONSTANTS, **options):
    return losses.crd(s, t, first, second, contrast, constants, **options)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: crd(t=TEACHER[:1]), ["teacher", "(1, 5)", "student", "(4, 5)"]),
        (lambda: crd(first=BANKS[0][:, :2]), ["student_bank", "(9, 2)", "(4, 5)", "same D"]),
        (lambda: crd(second=BANKS[1][:3]), ["teacher_bank", "(3, 5)", "student_bank", "(9, 5)"]),
        (lambda: crd(contrast=CONTRAST[:3]), ["contrast", "(3, 4)", "student", "(4, 5)"]),
        (lambda: crd(contrast=CONTRAST[:, :1]), ["contrast", "(4, 1)", "at least 1"]),
        (lambda: crd(constants=np.float32(1)), ["constants", "()", "(2,)"]),
        (lambda: crd(temperature=0), ["temperature=0"]),
        (lambda: losses.crd_constants(STUDENT, TEACHER, *BANKS, CONTRAST, np.ones(3)), ["constants", "(3,)", "(2,)"]),
        (lambda: losses.crd_constants(STUDENT, TEACHER, *BANKS, CONTRAST, CONSTANTS, temperature=-1), ["temperature=-1"]),
        (lambda: losses.crd_in_batch(STUDENT, TEACHER, LABELS[:2]), ["labels", "(2,)", "(4, 5)"]),
        (lambda: losses.crd_in_batch(STUDENT, TEACHER, np.zeros(4)), ["labels", "float", "integer"]),
        (lambda: losses.crd_in_batch(STUDENT, TEACHER[:, :2], LABELS), ["teacher", "(4, 2)"]),
        (lambda: losses.crd_in_batch(STUDENT, TEACHER, LABELS, temperature="a"), ["temperature='a'"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
