import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, halves_equal_whole, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(12)
ONLINE, TARGET = RNG.normal(size=(3, 6, 4)).astype(np.float32), RNG.normal(size=(2, 6, 4)).astype(np.float32)
Z, NOISE = RNG.normal(size=(2, 8, 4)).astype(np.float32)


def unit(x):
    return np.float64(x) / np.maximum(np.linalg.norm(np.float64(x), axis=-1, keepdims=True), 1e-12)


def centroid(online, target, per_view):
    middle = unit(target).mean(0)
    if per_view:
        return np.mean([((z - middle) ** 2).sum(-1) for z in unit(online)], 0)
    return ((unit(online).mean(0) - middle) ** 2).sum(-1)


def spectrum(z):
    sigma = np.linalg.svd(unit(z), compute_uv=False)
    return (sigma**4).sum() / len(z) ** 2 - 1 / z.shape[1]


@pytest.mark.parametrize("per_view", [True, False])
def test_view_centroid(per_view):
    loss = value_and_grad(lambda z, t: jnp.sum(losses.view_centroid(z, t, per_view=per_view)), argnums=(0, 1))
    value, gradients = loss(ONLINE, TARGET)
    same_value(value, centroid(ONLINE, TARGET, per_view).sum())
    same_gradient(gradients[0], differences(lambda z: centroid(z, TARGET, per_view).sum(), ONLINE))
    assert not gradients[1].any()
    assert losses.view_centroid(ONLINE, TARGET, per_view=per_view).shape == (6,)


def test_the_middle_of_the_views_is_never_farther_than_the_views():
    near, far = (losses.view_centroid(ONLINE, TARGET, per_view=per_view) for per_view in (False, True))
    assert np.all(near < far)
    same = np.broadcast_to(ONLINE[:1], ONLINE.shape)
    same_value(losses.view_centroid(same, TARGET), np.float64(losses.view_centroid(same, TARGET, per_view=False)))


def test_singular_values():
    value, gradient = value_and_grad(losses.singular_values)(Z)
    same_value(value, spectrum(Z))
    same_gradient(gradient, differences(spectrum, Z))
    few = Z[:3]  # of four dimensions
    same_value(losses.singular_values(few), spectrum(few))
    assert losses.singular_values(few) >= 1 / 3 - 1 / 4


def test_singular_values_are_equal_in_an_orthogonal_design_and_one_in_a_collapse():
    design = np.concatenate([np.eye(4), -2 * np.eye(4)]).astype(np.float32)
    value, gradient = value_and_grad(losses.singular_values)(design)
    assert abs(value) < 1e-7 and np.abs(gradient).max() < 1e-6
    same_value(losses.singular_values(np.ones((8, 4), np.float32)), 0.75)


def test_random_walk():
    loss = value_and_grad(lambda z, n: jnp.sum(losses.random_walk(z, n)), argnums=(0, 1))
    value, gradients = loss(Z, NOISE)

    def expected(z):
        return -(unit(z) * unit(NOISE)).sum()

    same_value(value, expected(Z))
    same_gradient(gradients[0], differences(expected, Z))
    assert not gradients[1].any()
    many = losses.random_walk(np.ones((20000, 4), np.float32), jax.random.normal(jax.random.key(0), (20000, 4)))
    assert abs(jnp.mean(many)) < 5 * 0.5 / np.sqrt(20000)  # a step has mean 0 and, in 4 dimensions, deviation 1/2


def test_zero_and_extreme_rows():
    zero = np.zeros_like(Z)
    for loss, x in (
        (lambda z: jnp.sum(losses.view_centroid(z[None], NOISE[None])), Z),
        (losses.singular_values, Z),
        (lambda z: jnp.sum(losses.random_walk(z, NOISE)), Z),
    ):
        value, gradient = value_and_grad(loss)(zero)
        assert np.isfinite(value) and not gradient.any()
        for scale in (1e-8, 1e4, 1e25):
            value, gradient = value_and_grad(loss)(x * np.float32(scale))
            same_value(value, np.float64(loss(x)))
            assert jnp.all(jnp.isfinite(gradient))


def test_two_halves_equal_the_whole():
    halves_equal_whole(losses.singular_values, Z)


def test_bfloat16():
    bfloat16_reduces_in_float32(losses.view_centroid, ONLINE, TARGET)
    bfloat16_reduces_in_float32(losses.singular_values, Z)
    bfloat16_reduces_in_float32(losses.random_walk, Z, NOISE)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.view_centroid(ONLINE, TARGET[:, :5]), ["target", "(2, 5, 4)", "online"]),
        (lambda: losses.view_centroid(Z, Z), ["online", "(8, 4)", "[V, B, D]"]),
        (lambda: losses.view_centroid(ONLINE, TARGET[:0]), ["target", "(0, 6, 4)", "1 view or more"]),
        (lambda: losses.view_centroid(ONLINE, TARGET, per_view=1), ["per_view=1"]),
        (lambda: losses.singular_values(Z[0]), ["embeddings", "(4,)", "[B, D]"]),
        (lambda: losses.singular_values(Z[:1]), ["singular_values", "1 row", "2 or more"]),
        (lambda: losses.random_walk(Z, NOISE[:, :3]), ["noise", "(8, 3)"]),
    ],
)
def test_refused_in_one_line(call, words):
    refused(call, words)
