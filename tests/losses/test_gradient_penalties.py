"""Penalties of a gradient, and their own gradients: against a public implementation, what is known in closed form, and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers import conv
from oracle import bfloat16_reduces_in_float32, differences, halves_equal_whole, refused, same_gradient, same_value, value_and_grad

from kdjax import losses, models
from kdjax.core import collectives

RNG = np.random.default_rng(10)
ROWS, FAKE = RNG.normal(size=(2, 4, 6)).astype(np.float32)
MIX = np.float32([0, 0.3, 0.8, 1])
KERNELS = tuple((RNG.normal(size=shape) / 2).astype(np.float32) for shape in ((6, 5), (5, 1)))
KEY = jax.random.key(3)
MATRIX = RNG.normal(size=(8, 6)).astype(np.float32)
LATENTS = RNG.normal(size=(4, 2, 4)).astype(np.float32)


def dense(kernels):
    """A critic of rows with one smooth layer."""
    return lambda x: (jnp.tanh(x @ kernels[0]) @ kernels[1])[:, 0]


def slope(kernels, x):
    """The gradient of `dense` at each row."""
    first, second = (np.float64(k) for k in kernels)
    return ((1 - np.tanh(np.float64(x) @ first) ** 2) * second[:, 0]) @ first.T


def squares(kernels, x=ROWS):
    return (slope(kernels, x) ** 2).sum(1)


def penalty(kernels, target=1.0):
    between = MIX[:, None] * np.float64(ROWS) + (1 - MIX[:, None]) * np.float64(FAKE)
    return (np.sqrt(squares(kernels, between)) - target) ** 2


def test_gradient_penalty_golden(golden):
    g = golden("dcd_gan/gradient_penalty")

    def critic(weights):
        def apply(x):
            x = jax.nn.leaky_relu(conv(x, weights[0], g["w_c1_bias"], 2, 1), 0.2)
            x = jax.nn.leaky_relu(conv(x, weights[1], g["w_c2_bias"], 1, 1), 0.2)
            return conv(x, weights[2], g["w_c3_bias"], 1, 1)

        return apply

    def total(*weights):
        each = losses.gradient_penalty(critic(weights), g["real"], g["fake"], g["alpha"], target=float(g["hp_constant"]))
        assert each.shape == (3,)
        return g["hp_lambda_gp"] * jnp.mean(each)

    names = [f"w_c{n}_kernel" for n in (1, 2, 3)]
    value, gradients = value_and_grad(total, argnums=(0, 1, 2))(*(g[name] for name in names))
    same_value(value, g["loss"])
    for name, gradient in zip(names, gradients, strict=True):
        same_gradient(gradient, g[f"grad_{name}"])


LOSSES = {
    "r1": (lambda kernels: losses.r1(dense(kernels), ROWS), squares),
    "gradient_penalty": (lambda kernels: losses.gradient_penalty(dense(kernels), ROWS, FAKE, MIX), penalty),
    "gradient_penalty, 0": (
        lambda kernels: losses.gradient_penalty(dense(kernels), ROWS, FAKE, MIX, target=0),
        lambda kernels: penalty(kernels, 0.0),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_oracle_and_the_gradient_of_the_critic(name):
    loss, expected = LOSSES[name]
    (_, each), gradients = value_and_grad(lambda k: (jnp.sum(found := loss(k)), found), has_aux=True)(KERNELS)
    same_value(each, expected(KERNELS))
    for n, gradient in enumerate(gradients):
        right = differences(lambda k, n=n: expected([*KERNELS[:n], k, *KERNELS[n + 1 :]]).sum(), KERNELS[n])
        same_gradient(gradient, right)


def test_what_is_flat_has_no_gradient():
    still = tuple(0 * k for k in KERNELS)
    for name, value in (("r1", 0), ("gradient_penalty", 4), ("gradient_penalty, 0", 0)):
        found, gradients = value_and_grad(lambda k, name=name: jnp.sum(LOSSES[name][0](k)))(still)
        assert found == value and not any(g.any() for g in gradients)


def net_critic():
    """The critic of this library, its convolutions and its batch statistics."""
    net, x = models.critic((3, 4)), RNG.normal(size=(3, 8, 8, 2)).astype(np.float32)
    params, stats = net.init(KEY, x)
    return lambda params, x: net.apply(params, stats, x, train=True)[0]["logit"], params, x


def net_penalty(name):
    """A penalty of a net of this library, of its parameters."""
    if name == "path_length":
        net, z = models.generator(8, channels=1, features=2), LATENTS[:, 0]
        params, stats = net.init(KEY, z)
        make = lambda p: lambda z: net.apply(p, stats, z, train=True)[0]["image"]  # noqa: E731
        return lambda p: losses.path_length(make(p), z, KEY, running=0.1)[0], params
    apply, params, x = net_critic()
    critic = lambda p: lambda images: apply(p, images)  # noqa: E731
    if name == "r1":
        return lambda p: jnp.sum(losses.r1(critic(p), x)), params
    return lambda p: jnp.sum(losses.gradient_penalty(critic(p), x, x[::-1], MIX[:3])), params


@pytest.mark.parametrize("name", ["r1", "gradient_penalty", "path_length"])
def test_nets_of_the_library_learn_by_it(name):
    loss, params = net_penalty(name)
    value, gradient = value_and_grad(loss)(params)
    along = jax.tree.map(lambda g: g / 100, gradient)
    size = sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(gradient)) / 100
    step = 0.003 * float(value) / size  # in the direction of the gradient, so that the loss moves by 0.3 %
    up, down = (jax.jit(loss)(jax.tree.map(lambda p, d, s=s: p + s * step * d, params, along)) for s in (1, -1))
    assert float(up - down) / (2 * step) == pytest.approx(size, rel=0.02)


def generator(matrix, size=(2, 3, 1)):
    """Linear: the slope of `y . generator(w)` is known."""
    return lambda w: (w.reshape(len(w), -1) @ matrix).reshape(len(w), *size)


def length(matrix, layers=2):
    noise = np.float64(jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(KEY, i), (2, 3, 1)))(jnp.arange(4))).reshape(4, 6)
    return np.sqrt(((noise @ np.float64(matrix).T / np.sqrt(6)) ** 2).sum(1) / layers)


def evenness(matrix, running=0.7, layers=2):
    each = length(matrix, layers)
    return ((each - (running + 0.01 * (each.mean() - running))) ** 2).mean()


@pytest.mark.parametrize("latents", [LATENTS, LATENTS.reshape(4, 8)], ids=["layers", "one"])
def test_path_length_of_a_linear_generator(latents):
    layers = latents.ndim - 1
    loss = value_and_grad(lambda m: losses.path_length(generator(m), latents, KEY, running=0.7), has_aux=True)
    (value, running), gradient = loss(MATRIX)
    same_value(value, evenness(MATRIX, layers=layers))
    same_value(running, 0.7 + 0.01 * (length(MATRIX, layers).mean() - 0.7))
    same_gradient(gradient, differences(lambda m: evenness(m, layers=layers), MATRIX))
    assert not jax.grad(lambda m: losses.path_length(generator(m), latents, KEY, running=0.7)[1])(MATRIX).any()


def test_the_moving_mean_comes_to_the_length():
    mean = 0.0
    for _ in range(3):
        _, mean = losses.path_length(generator(MATRIX), LATENTS, KEY, running=mean, decay=1.0)
    same_value(mean, length(MATRIX).mean())


def test_halves_of_the_latents_equal_the_whole():
    def loss(w, axis_name):
        value, running = losses.path_length(
            lambda w: jnp.tanh(generator(MATRIX)(w)), w, KEY, running=0.2, decay=0.3, axis_name=axis_name
        )
        return value + running

    halves_equal_whole(loss, LATENTS)


def test_penalties_are_of_single_images():
    def loss(x, axis_name):
        each = losses.r1(dense(KERNELS), x) + losses.gradient_penalty(dense(KERNELS), x, x, jnp.ones(len(x)))
        return collectives.mean(each, axis_name=axis_name)

    split = jax.vmap(lambda x: loss(x, "data"), axis_name="data")(ROWS.reshape(2, 2, 6))
    same_value(split, np.full(2, squares(KERNELS).mean() + ((np.sqrt(squares(KERNELS)) - 1) ** 2).mean()))


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda x: losses.r1(dense(KERNELS), x), ROWS)
    found = losses.gradient_penalty(dense(KERNELS), *(jnp.asarray(a, jnp.bfloat16) for a in (ROWS, FAKE, MIX)))
    assert found.dtype == jnp.float32 and jnp.isfinite(found).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.r1(lambda x: jnp.sum(x), ROWS), ["scores", "()"]),
        (lambda: losses.r1(lambda x: x[:2], ROWS), ["scores", "(2, 6)", "images", "(4, 6)"]),
        (lambda: losses.gradient_penalty(dense(KERNELS), ROWS, FAKE[:, :2], MIX), ["fake", "(4, 2)", "real"]),
        (lambda: losses.gradient_penalty(dense(KERNELS), ROWS, FAKE, MIX[:2]), ["mix", "(2,)", "real"]),
        (lambda: losses.gradient_penalty(dense(KERNELS), ROWS, FAKE, MIX, target=-1), ["target=-1", "at least 0"]),
        (
            lambda: losses.path_length(generator(MATRIX), LATENTS[..., None], KEY, running=0),
            ["latents", "(4, 2, 4, 1)", "[B, L, D]"],
        ),
        (lambda: losses.path_length(lambda w: w, LATENTS, KEY, running=0), ["images", "(4, 2, 4)", "[B, H, W, C]"]),
        (lambda: losses.path_length(generator(MATRIX), LATENTS, KEY, running=0, decay=2), ["decay=2", "[0, 1]"]),
        (lambda: losses.path_length(generator(MATRIX), LATENTS, KEY, running=np.ones(2)), ["running=", "a number"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
