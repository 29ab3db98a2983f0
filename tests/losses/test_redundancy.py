import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, halves_equal_whole, refused, same_gradient, same_value, value_and_grad

from kdjax import losses
from kdjax.core import collectives

RNG = np.random.default_rng(9)
Z1, Z2 = RNG.normal(size=(2, 8, 5)).astype(np.float32) * np.array([0.5, 1, 2, 0.1, 1], np.float32)


def off_diagonal(x):
    return x - np.diag(np.diag(x))


def barlow_twins(z1, z2, weight=0.1):
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (np.float64(z1), np.float64(z2)))
    c = a.T @ b / len(a)
    return ((np.diag(c) - 1) ** 2).sum() + weight * (off_diagonal(c) ** 2).sum()


def hinge(z, epsilon):
    return np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + epsilon)).mean()


def vicreg(z1, z2, invariance=25, variance=25, covariance=1, epsilon=1e-4, half=0.5):
    z1, z2 = np.float64(z1), np.float64(z2)
    shared = sum((off_diagonal(np.cov(z.T)) ** 2).sum() / z.shape[1] for z in (z1, z2))
    hinges = half * (hinge(z1, epsilon) + hinge(z2, epsilon))
    return invariance * ((z1 - z2) ** 2).mean() + variance * hinges + covariance * shared


def vibcreg(z1, z2, invariance=25, variance=25, covariance=200, epsilon=1e-4):
    z1, z2 = np.float64(z1), np.float64(z2)
    shared = sum((off_diagonal(np.corrcoef(z.T)) ** 2).mean() for z in (z1, z2))
    hinges = hinge(z1, epsilon) + hinge(z2, epsilon)
    return invariance * ((z1 - z2) ** 2).mean() + variance * hinges + covariance * shared


def whiten(z, shrinkage=0.0):
    z = np.float64(z)
    lower = np.linalg.cholesky((1 - shrinkage) * np.cov(z.T) + shrinkage * np.eye(z.shape[1]))
    return (z - z.mean(0)) @ np.linalg.inv(lower).T


def w_mse(a, b):
    a, b = np.float64(a), np.float64(b)
    return 2 - 2 * (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


LOSSES = {
    "barlow_twins": (functools.partial(losses.barlow_twins, weight=0.1), barlow_twins),
    "vicreg": (losses.vicreg, vicreg),
    "vicreg, whole": (functools.partial(losses.vicreg, halve_variance=False), functools.partial(vicreg, half=1)),
    "vicreg, options": (
        functools.partial(losses.vicreg, invariance=1, variance=2, covariance=3, epsilon=0.1),
        functools.partial(vicreg, invariance=1, variance=2, covariance=3, epsilon=0.1),
    ),
    "vibcreg": (losses.vibcreg, vibcreg),
    "vibcreg, options": (
        functools.partial(losses.vibcreg, invariance=1, variance=2, covariance=3, epsilon=0.1),
        functools.partial(vibcreg, invariance=1, variance=2, covariance=3, epsilon=0.1),
    ),
}
SUMS = ["barlow_twins", "vicreg", "vibcreg"]


@pytest.mark.parametrize("name", LOSSES)
def test_oracle_on_both_sides(name):
    loss, expected = LOSSES[name]
    value, gradients = value_and_grad(loss, argnums=(0, 1))(Z1, Z2)
    same_value(value, expected(Z1, Z2))
    same_gradient(gradients[0], differences(lambda z: expected(z, Z2), Z1))
    same_gradient(gradients[1], differences(lambda z: expected(Z1, z), Z2))


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("official_ssl/barlow_twins", lambda g, *z: losses.barlow_twins(*z, weight=g["hp_lambd"])),
        ("solo_learn/barlow", lambda g, *z: g["hp_scale_loss"] * losses.barlow_twins(*z, weight=g["hp_lamb"])),
        ("official_ssl/vicreg", lambda g, *z: losses.vicreg(*z)),
        ("solo_learn/vicreg", lambda g, *z: losses.vicreg(*z, halve_variance=False)),
        ("solo_learn/vibcreg", lambda g, *z: losses.vibcreg(*z)),
    ],
)
def test_golden(golden, name, loss):
    g = golden(name)
    value, gradients = value_and_grad(lambda *z: loss(g, *z), argnums=(0, 1))(g["z1"], g["z2"])
    same_value(value, g["loss"])
    same_gradient(gradients[0], g["grad_z1"])
    same_gradient(gradients[1], g["grad_z2"])


def test_vicreg_golden_parts(golden):
    g = golden("solo_learn/vicreg")
    none = {"invariance": 0, "variance": 0, "covariance": 0}
    for part in none:
        value = losses.vicreg(g["z1"], g["z2"], **{**none, part: 1}, halve_variance=False)
        same_value(value, g[f"loss_{part}"])


def test_w_mse_golden_through_the_whitening(golden):
    g = golden("solo_learn/wmse")

    def loss(z1):
        white = losses.whiten(z1), losses.whiten(g["z2"])
        return jnp.mean(losses.w_mse(*white)), white

    (value, white), gradient = value_and_grad(loss, has_aux=True)(g["z1"])
    same_value(value, g["loss"])
    same_gradient(white[0], g["white1"], 1e-5)
    same_gradient(white[1], g["white2"], 1e-5)
    same_gradient(gradient, g["grad_z1"])


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_whiten_oracle(shrinkage):
    (_, white), gradient = value_and_grad(lambda z: (jnp.sum(w := losses.whiten(z, shrinkage=shrinkage) * Z2), w), has_aux=True)(Z1)
    same_gradient(white, whiten(Z1, shrinkage) * Z2, 1e-5)
    same_gradient(gradient, differences(lambda z: (whiten(z, shrinkage) * Z2).sum(), Z1), 2e-4)


def test_whitened_dimensions_are_uncorrelated_whatever_the_scale():
    for scale in (1e-8, 1.0, 1e8):
        white = losses.whiten(Z1 * np.float32(scale) + np.float32(3 * scale))
        np.testing.assert_allclose(np.cov(white.T), np.eye(5), atol=1e-4)
    few = losses.whiten(Z1[:6])  # one row more than dimensions
    np.testing.assert_allclose(np.cov(few.T), np.eye(5), atol=1e-3)


def test_w_mse_oracle_on_both_sides():
    (_, rows), gradients = value_and_grad(lambda *z: (jnp.sum(r := losses.w_mse(*z)), r), argnums=(0, 1), has_aux=True)(Z1, Z2)
    same_value(rows, w_mse(Z1, Z2))
    same_gradient(gradients[0], differences(lambda z: w_mse(z, Z2).sum(), Z1))
    same_gradient(gradients[1], differences(lambda z: w_mse(Z1, z).sum(), Z2))


def test_w_mse_of_equal_zero_and_extreme_rows():
    both = value_and_grad(lambda *z: jnp.sum(losses.w_mse(*z)), argnums=(0, 1))
    value, gradients = both(Z1, Z1)
    assert value == 0 and not gradients[0].any()
    value, gradients = both(np.zeros_like(Z1), Z2)
    same_value(value, np.float64(8))
    assert not gradients[0].any() and jnp.max(jnp.abs(gradients[1])) < 1e-4
    for scale in np.float32([1e-8, 1e4, 1e25]):
        same_value(both(Z1 * scale, Z2 * scale)[0], w_mse(Z1, Z2).sum())


@pytest.mark.parametrize("name", SUMS)
def test_halves_equal_whole(name):
    def loss(both, axis_name):
        return LOSSES[name][0](both[..., 0], both[..., 1], axis_name=axis_name)

    halves_equal_whole(loss, np.stack([Z1, Z2], axis=-1))


def test_whitened_halves_equal_the_whole():
    def loss(both, axis_name):
        white = [losses.whiten(both[..., i], shrinkage=0.1, axis_name=axis_name) for i in (0, 1)]
        assert white[0].shape == (len(both), 5)
        return collectives.mean(losses.w_mse(*white), axis_name=axis_name)

    halves_equal_whole(loss, np.stack([Z1, Z2], axis=-1))


@pytest.mark.parametrize("name", SUMS)
def test_collapsed_and_extreme_embeddings(name):
    loss, expected = LOSSES[name]
    both = value_and_grad(loss, argnums=(0, 1))
    # Both views constant, whatever the constants: what is left must not be the rounding of their means.
    constants = np.concatenate([[0, 1e-3, 3.3], np.random.default_rng(0).normal(size=27) * 1e4])
    flat = np.tile(np.float32(constants), (7, 1))
    value, gradients = both(flat, flat)
    same_value(value, {"barlow_twins": 30.0, "vicreg": 25 * 0.99, "vibcreg": 50 * 0.99}[name])
    assert all(jnp.max(jnp.abs(g)) < 1e-4 for g in gradients)
    value, gradients = both(Z1, Z1)
    same_value(value, expected(Z1, Z1))
    for scale in np.float32([1e-4, 1e4]):
        value, gradients = both(Z1 * scale, Z2 * scale)
        same_value(value, expected(np.float64(Z1) * scale, np.float64(Z2) * scale), 2e-5)
        assert all(jnp.all(jnp.isfinite(g)) for g in gradients)


def test_a_dead_dimension_repeats_nothing():
    z = Z1.copy()
    z[:, 2] = 3.3
    z[0, 2] = np.nextafter(z[0, 2], np.float32(4))  # as far as rounding goes
    only = functools.partial(losses.vibcreg, invariance=0, variance=0)
    value, gradient = value_and_grad(only)(z, Z2)
    alive = np.delete(z, 2, 1)
    own, other = ((off_diagonal(np.corrcoef(x.T)) ** 2).sum() / 25 for x in (np.float64(alive), np.float64(Z2)))
    same_value(value, 200 * (own + other))
    assert not gradient[:, 2].any() and jnp.all(jnp.isfinite(gradient))


def test_a_collapsed_view_whitened_with_shrinkage_is_zero():
    white, pull = jax.vjp(functools.partial(losses.whiten, shrinkage=1e-3), np.full((8, 5), 3.3, np.float32))
    assert jnp.max(jnp.abs(white)) < 1e-4
    assert jnp.all(jnp.isfinite(pull(white + 1)[0]))


def test_correlations_do_not_depend_on_scale_and_place():
    z = Z1 * np.array([3, 0.1, 1, 20, 1], np.float32) + np.array([1, -2, 0, 5, 0], np.float32)
    np.testing.assert_allclose(losses.vibcreg(z, z, variance=0), losses.vibcreg(Z1, Z1, variance=0), rtol=1e-5)


def test_options_under_vmap():
    swept = jax.vmap(lambda w, e: losses.vicreg(Z1, Z2, covariance=w, epsilon=e))(jnp.array([1.0, 2.0]), jnp.array([0.1, 0.2]))
    same_value(swept, [vicreg(Z1, Z2, covariance=1, epsilon=0.1), vicreg(Z1, Z2, covariance=2, epsilon=0.2)])
    swept = jax.vmap(lambda w: losses.barlow_twins(Z1, Z2, weight=w))(jnp.array([0.0, 2.0]))
    same_value(swept, [barlow_twins(Z1, Z2, 0), barlow_twins(Z1, Z2, 2)])
    swept = jax.vmap(lambda s: losses.whiten(Z1, shrinkage=s))(jnp.array([0.1, 0.5]))
    same_gradient(swept, np.stack([whiten(Z1, 0.1), whiten(Z1, 0.5)]), 1e-5)


@pytest.mark.parametrize("name", SUMS)
def test_bfloat16(name):
    bfloat16_reduces_in_float32(LOSSES[name][0], Z1, Z2)


def test_bfloat16_of_whitened_views():
    bfloat16_reduces_in_float32(losses.w_mse, Z1, Z2)
    bfloat16_reduces_in_float32(lambda z1, z2: losses.w_mse(losses.whiten(z1, shrinkage=0.1), z2), Z1, Z2)


def test_lists_are_taken():
    same_value(losses.vicreg(Z1.tolist(), Z2.tolist()), vicreg(Z1, Z2))
    same_gradient(losses.whiten(Z1.tolist()), whiten(Z1), 1e-5)


X = np.ones((4, 3), np.float32)


def halves(loss, z):
    return jax.vmap(functools.partial(loss, axis_name="data"), axis_name="data")(z)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.barlow_twins(X, X[:, :2], weight=1), ["z2", "(4, 2)", "z1", "(4, 3)"]),
        (lambda: losses.barlow_twins(X, X, weight=-1), ["weight=-1", "at least 0"]),
        (lambda: losses.barlow_twins(X[:1], X[:1], weight=1), ["barlow_twins", "1 row", "2 or more"]),
        (lambda: losses.vicreg(X[0], X[0]), ["z1", "(3,)", "[B, D]"]),
        (lambda: losses.vicreg(X, X, invariance=np.inf), ["invariance=inf"]),
        (lambda: losses.vicreg(X, X, variance="1"), ["variance='1'"]),
        (lambda: losses.vicreg(X, X, epsilon=0), ["epsilon=0", "above 0"]),
        (lambda: losses.vicreg(X, X, halve_variance=0.5), ["halve_variance=0.5", "True or False"]),
        (lambda: losses.vicreg(X[:1], X[:1]), ["vicreg", "1 row", "2 or more"]),
        (lambda: losses.vibcreg(X, X[:2]), ["z2", "(2, 3)"]),
        (lambda: losses.vibcreg(X, X, covariance=-200), ["covariance=-200"]),
        (lambda: losses.vibcreg(X, X, epsilon=-1e-4), ["epsilon=-0.0001"]),
        (lambda: losses.vibcreg(X[:1], X[:1]), ["vibcreg", "1 row", "2 or more"]),
        (lambda: losses.whiten(X[None]), ["z", "(1, 4, 3)", "[B, D]"]),
        (lambda: losses.whiten(X[:2]), ["whiten", "2 rows of 3 dimensions", "more rows"]),
        (lambda: losses.whiten(X[:3]), ["3 rows of 3 dimensions"]),
        (lambda: halves(losses.whiten, X[:2, None]), ["2 rows of 3 dimensions", "all devices"]),
        (lambda: losses.whiten(X[:1, :1]), ["whiten", "1 row", "2 or more"]),
        (lambda: losses.whiten(X, shrinkage=1.5), ["shrinkage=1.5", "[0, 1]"]),
        (lambda: losses.w_mse(X, X[:2]), ["white2", "(2, 3)", "white1", "(4, 3)"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)


def test_the_rows_of_all_devices_count():
    np.testing.assert_allclose(np.cov(halves(losses.whiten, Z1.reshape(2, 4, 5)).reshape(8, 5).T), np.eye(5), atol=1e-4)
