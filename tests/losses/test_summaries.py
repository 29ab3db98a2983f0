import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers import batch_norm, conv, pooled
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, softmax, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(4)
STUDENT = RNG.normal(size=(2, 3, 4, 3)).astype(np.float32)
TEACHER = RNG.normal(size=(2, 5, 4, 2)).astype(np.float32)
SAME = RNG.normal(size=(2, 5, 4, 3)).astype(np.float32)


def matched(s, t):
    size = [min(s.shape[i], t.shape[i]) for i in (1, 2)]
    return pooled(s, *size), pooled(t, *size)


def direction(x):
    x = np.float64(x).reshape(len(x), -1)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)


def attention(s, t, power=2, variant="squared"):
    a, b = (direction((np.abs(x) ** power).mean(-1)) for x in matched(s, t))
    return ((a - b) ** 2).mean(1) if variant == "squared" else np.sqrt(((a - b) ** 2).sum(1))


def factor(s, t, p1=2, p2=1, channel_pool=True):
    a, b = (direction((x**p1).mean(-1) if channel_pool else x) for x in matched(s, t))
    return (np.abs(a - b) ** p2).mean(1)


def flow(low, high):
    low, high = matched(low, high)
    return np.einsum("bhwc,bhwd->bcd", low, high) / low.shape[1] / low.shape[2]


def flows(s_low, s_high, t_low, t_high):
    return ((flow(s_low, s_high) - flow(t_low, t_high)) ** 2).mean((1, 2))


def selectivity(s, t):
    """Through the kernel's features: the outer products of each direction with itself."""

    def mean_outer(x):
        x = x.reshape(len(x), -1, x.shape[-1])
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
        return np.einsum("bpc,bqc->bpq", x, x) / x.shape[-1]

    a, b = (mean_outer(x) for x in matched(s, t))
    return ((a - b) ** 2).sum((1, 2))


def golden_layers(g, loss, layers):
    """Checks each layer's batch mean, their sum, and the gradient of the sum."""

    def total(student):
        each = jnp.stack([jnp.mean(loss(f, g[f"f_t{i}"])) for i, f in enumerate(student)])
        return jnp.sum(each), each

    (value, each), gradients = value_and_grad(total, has_aux=True)([g[f"f_s{i}"] for i in range(layers)])
    same_value(each, g["loss_per_layer"])
    same_value(value, g["loss"])
    for i, gradient in enumerate(gradients):
        same_gradient(gradient, g[f"grad_f_s{i}"])


@pytest.mark.parametrize("name", ["repdistiller/at", "repdistiller/at_p4"])
def test_attention_transfer_golden(golden, name):
    g = golden(name)
    golden_layers(g, functools.partial(losses.attention_transfer, power=int(g["hp_p"])), 2)


def test_neuron_selectivity_golden(golden):
    golden_layers(golden("repdistiller/nst"), losses.neuron_selectivity, 2)


@pytest.mark.parametrize("name", ["repdistiller/ft", "repdistiller/ft_p2"])
def test_factor_transfer_golden(golden, name):
    g = golden(name)
    loss = functools.partial(losses.factor_transfer, p1=int(g["hp_p1"]), p2=int(g["hp_p2"]))
    value, gradient = value_and_grad(lambda s: jnp.mean(loss(s, g["f_t"])))(g["f_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_f_s"])


def test_factor_transfer_golden_through_a_translator(golden):
    g = golden("repdistiller/ft_translator")
    slope = float(g["hp_negative_slope"])

    def factor_of(x, who):
        for i in "123":
            x = conv(x, g[f"w_{who}_conv{i}_kernel"], g[f"w_{who}_conv{i}_bias"], padding=1)
            if who == "translator":
                x = batch_norm(x, g[f"w_{who}_bn{i}_scale"], g[f"w_{who}_bn{i}_bias"])
            x = jax.nn.leaky_relu(x, slope)
        return x

    same_gradient(factor_of(g["f_t"], "paraphraser"), g["factor_t"], 1e-5)
    value, gradient = value_and_grad(
        lambda s: jnp.mean(losses.factor_transfer(factor_of(s, "translator"), factor_of(g["f_t"], "paraphraser")))
    )(g["f_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_f_s"])


def test_flow_of_solution_golden(golden):
    g = golden("repdistiller/fsp")

    def total(student):
        pairs = ((0, 1), (1, 2))
        rows = [losses.flow_of_solution(student[a], student[b], g[f"f_t{a}"], g[f"f_t{b}"]) for a, b in pairs]
        each = jnp.stack([jnp.mean(r) for r in rows])
        return jnp.sum(each), each

    (value, each), gradients = value_and_grad(total, has_aux=True)([g[f"f_s{i}"] for i in range(3)])
    same_value(each, g["loss_per_pair"])
    same_value(value, g["loss"])
    for i, gradient in enumerate(gradients):
        same_gradient(gradient, g[f"grad_f_s{i}"])


def of_flows(loss):
    """The loss of two layers with the student's later layer as its argument; the teacher's maps have other sizes."""
    return lambda s, t: loss(SAME[:, :4], s, SAME[:, :2, :2], t)


LOSSES = {
    "at": (losses.attention_transfer, attention),
    "at_power_1": (functools.partial(losses.attention_transfer, power=1), functools.partial(attention, power=1)),
    "at_power_3": (functools.partial(losses.attention_transfer, power=3), functools.partial(attention, power=3)),
    "at_paper": (
        functools.partial(losses.attention_transfer, variant="paper"),
        functools.partial(attention, variant="paper"),
    ),
    "ft": (losses.factor_transfer, factor),
    "ft_1_2": (functools.partial(losses.factor_transfer, p1=1, p2=2), functools.partial(factor, p1=1, p2=2)),
    "ft_3_3": (functools.partial(losses.factor_transfer, p1=3, p2=3), functools.partial(factor, p1=3, p2=3)),
    "ft_channels": (
        functools.partial(losses.factor_transfer, channel_pool=False),
        functools.partial(factor, channel_pool=False),
    ),
    "fsp": (of_flows(losses.flow_of_solution), of_flows(flows)),
    "nst": (losses.neuron_selectivity, selectivity),
}
TEACHERS = {name: SAME if name in ("ft_channels", "fsp") else TEACHER for name in LOSSES}


@pytest.mark.parametrize("name", LOSSES)
def test_oracle(name):
    (loss, expected), teacher = LOSSES[name], TEACHERS[name]
    same_value(loss(STUDENT, teacher), expected(STUDENT, teacher), 2e-5)
    gradient = value_and_grad(lambda s: jnp.sum(loss(s, teacher)))(STUDENT)[1]
    same_gradient(gradient, differences(lambda s: expected(s, teacher).sum(), STUDENT))


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_stops_at_the_teacher(name):
    assert not jax.grad(lambda t: jnp.sum(LOSSES[name][0](STUDENT, t)))(TEACHERS[name]).any()


def test_flow_of_solution_stops_at_both_teacher_maps():
    gradients = jax.grad(lambda *t: jnp.sum(losses.flow_of_solution(SAME, STUDENT, *t)), argnums=(0, 1))(SAME, SAME)
    assert not any(g.any() for g in gradients)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_and_empty_maps(name):
    (loss, expected), teacher = LOSSES[name], TEACHERS[name]
    both = value_and_grad(lambda s, t: jnp.sum(loss(s, t)))
    lonely = np.zeros_like(STUDENT)
    lonely[:, 0, 0, 0] = 1e4  # most channels and positions are zero
    for s, t in (
        (STUDENT * 1e4, teacher * 1e4),
        (STUDENT * 1e-4, teacher * 1e4),
        (lonely, teacher),
        (STUDENT * 0, teacher),
        (STUDENT, teacher * 0),
    ):
        value, gradient = both(s, t)
        same_value(value, expected(s, t).sum(), 5e-5)
        assert jnp.all(jnp.isfinite(gradient))
    value, gradient = both(STUDENT * 0, teacher * 0)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "fsp"])
def test_equal_maps(name):
    # These have a kink where the maps are equal. A compiler rounds two paths of one formula differently, which picks a side:
    # operation by operation they are equal, and the gradient is 0.
    kink = name in ("at_paper", "ft", "ft_channels")
    both = (jax.value_and_grad if kink else value_and_grad)(lambda s, t: jnp.sum(LOSSES[name][0](s, t)))
    for teacher in (STUDENT, STUDENT * 1e4):
        value, gradient = both(teacher, teacher)
        assert abs(value) < 1e-6
        assert jnp.max(jnp.abs(gradient)) < 1e-6


def test_flow_of_solution_of_equal_maps():
    value, gradient = value_and_grad(lambda s: jnp.sum(losses.flow_of_solution(s, SAME, STUDENT, SAME)))(STUDENT)
    assert 0 <= value < 1e-12
    assert jnp.max(jnp.abs(gradient)) < 1e-6


def test_powers_do_not_overflow():
    same_value(losses.attention_transfer(STUDENT * 1e4, TEACHER * 1e4, power=16), attention(STUDENT, TEACHER, 16), 1e-4)
    same_value(losses.factor_transfer(STUDENT * 1e4, TEACHER * 1e-4, p1=16), factor(STUDENT, TEACHER, 16), 1e-4)


def test_attention_is_blind_to_channel_order_and_scale():
    same_gradient(losses.attention_transfer(STUDENT, 3 * STUDENT[..., ::-1]), np.zeros(2) + 1e-12, 1.0)


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16(name):
    bfloat16_reduces_in_float32(LOSSES[name][0], STUDENT, TEACHERS[name])


def below(shallow, deep):
    """Of a map twice as large; interpolated point by point."""
    shallow, deep = np.float64(shallow), np.float64(deep)
    large = np.empty((*shallow.shape[:3], deep.shape[3]))
    for i, j in np.ndindex(shallow.shape[1:3]):
        y, x = (np.clip((k + 0.5) / 2 - 0.5, 0, n - 1) for k, n in ((i, deep.shape[1]), (j, deep.shape[2])))
        corners = [(int(a), int(b)) for a in {np.floor(y), np.ceil(y)} for b in {np.floor(x), np.ceil(x)}]
        large[:, i, j] = sum((1 - abs(y - a)) * (1 - abs(x - b)) * deep[:, a, b] for a, b in corners)
    a, b = (softmax((f**2).mean(-1).reshape(len(f), -1)) for f in (shallow, large))
    return ((a - b) ** 2).mean(1)


SHALLOW, DEEP = RNG.normal(size=(2, 4, 6, 3)).astype(np.float32), RNG.normal(size=(2, 2, 3, 5)).astype(np.float32)


def test_attention_below_golden(golden):
    g = golden("self_kd_lib/sad")
    loss = lambda f0, f1: jnp.mean(losses.attention_below(f0, f1) + losses.attention_below(f1, g["f2"]))  # noqa: E731
    value, gradients = value_and_grad(loss, argnums=(0, 1))(g["f0"], g["f1"])
    same_value(value, g["loss"])
    for gradient, name in zip(gradients, ("f0", "f1"), strict=True):
        same_gradient(gradient, g[f"grad_{name}"])


def test_attention_below_oracle():
    same_value(losses.attention_below(SHALLOW, DEEP), below(SHALLOW, DEEP), 2e-5)
    both = value_and_grad(lambda s, d: jnp.sum(losses.attention_below(s, d)), argnums=(0, 1))
    _, gradients = both(SHALLOW, DEEP)
    same_gradient(gradients[0], differences(lambda s: below(s, DEEP).sum(), SHALLOW))
    assert not gradients[1].any()


def test_attention_below_extremes():
    for shallow, deep in ((1e4 * SHALLOW, DEEP), (0 * SHALLOW, 0 * DEEP), (SHALLOW, SHALLOW)):
        value, gradient = value_and_grad(lambda s, d=deep: jnp.sum(losses.attention_below(s, d)))(shallow)
        assert jnp.isfinite(value) and jnp.isfinite(gradient).all()
    assert not losses.attention_below(0 * SHALLOW, 0 * DEEP).any() and not losses.attention_below(SHALLOW, SHALLOW).any()
    bfloat16_reduces_in_float32(losses.attention_below, SHALLOW, DEEP)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.attention_transfer(STUDENT[0], TEACHER), ["student", "(3, 4, 3)", "[B, H, W, C]"]),
        (lambda: losses.attention_transfer(STUDENT, TEACHER[:1]), ["teacher", "(1, 5, 4, 2)", "student", "same B"]),
        (lambda: losses.attention_transfer(STUDENT, TEACHER, power=0), ["power=0", "whole number"]),
        (lambda: losses.attention_transfer(STUDENT, TEACHER, power=1.5), ["power=1.5", "whole number"]),
        (lambda: losses.attention_transfer(STUDENT, TEACHER, variant="code"), ["variant='code'", "'paper'"]),
        (lambda: losses.attention_below(SHALLOW, DEEP[:1]), ["deep", "(1, 2, 3, 5)", "shallow"]),
        (lambda: losses.attention_below(DEEP, SHALLOW), ["deep has shape (2, 4, 6, 3)", "shallow", "no larger"]),
        (lambda: losses.factor_transfer(STUDENT, TEACHER[..., 0]), ["teacher", "(2, 5, 4)"]),
        (lambda: losses.factor_transfer(STUDENT, TEACHER, channel_pool=False), ["teacher", "(2, 5, 4, 2)", "same C"]),
        (lambda: losses.factor_transfer(STUDENT, TEACHER, p1=-1), ["p1=-1"]),
        (lambda: losses.factor_transfer(STUDENT, TEACHER, p2=True), ["p2=True"]),
        (lambda: losses.factor_transfer(STUDENT, TEACHER, channel_pool="no"), ["channel_pool='no'", "True or False"]),
        (lambda: losses.flow_of_solution(STUDENT, SAME, TEACHER, SAME), ["teacher_low", "(2, 5, 4, 2)", "student_low"]),
        (lambda: losses.flow_of_solution(STUDENT, SAME, STUDENT, TEACHER), ["teacher_high", "(2, 5, 4, 2)", "student_high"]),
        (lambda: losses.flow_of_solution(STUDENT, SAME[:1], SAME, SAME), ["student_high", "(1, 5, 4, 3)", "student_low"]),
        (lambda: losses.neuron_selectivity(STUDENT, TEACHER[:, 0]), ["teacher", "(2, 4, 2)", "[B, h, w, D]"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
