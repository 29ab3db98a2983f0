"""The loss around a minimum, and between two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError
from kdjax.evaluate import evaluation_loss, filter_normalised, losses_at, perturbation_gap

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
CURVATURE = RNG.uniform(0.5, 2.0, (3, 4))
PARAMS = {"kernel": jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32), "bias": jnp.ones(4)}
BATCHES = [jnp.asarray(RNG.normal(size=n), jnp.float32) for n in (5, 2)]
MEAN = np.concatenate(BATCHES).mean()


def quadratic(params, rows):
    """`1/2 sum h w^2` times a number a row."""
    return rows * jnp.sum(jnp.asarray(CURVATURE, jnp.float32) * params["kernel"] ** 2) / 2


def value(kernel):
    return MEAN * np.sum(CURVATURE * np.float64(kernel) ** 2) / 2


def test_filters_of_a_direction_are_as_long_as_those_of_the_weights():
    """Of kernels of a convolution too, and nothing else moves."""
    params, _ = models.conv_net((3, 4), 5).init(KEY, jnp.zeros((1, 4, 4, 1)))
    found = filter_normalised(jax.random.key(1), params)
    for path, x in jax.tree_util.tree_leaves_with_path(found):
        own = params
        for part in path:
            own = own[part.key]
        if x.ndim < 2:
            assert not x.any()
        else:
            norms = [np.linalg.norm(np.asarray(a, np.float64).reshape(-1, a.shape[-1]), axis=0) for a in (x, own)]
            np.testing.assert_allclose(*norms, rtol=1e-5)
    assert not np.allclose(found["classifier"]["kernel"], filter_normalised(KEY, params)["classifier"]["kernel"])


def test_a_line_and_a_plane_of_a_quadratic_loss():
    one, two = (filter_normalised(jax.random.key(k), PARAMS) for k in (1, 2))
    at = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, -2.0]])
    wanted = [value(PARAMS["kernel"] + a * one["kernel"] + b * two["kernel"]) for a, b in at]
    np.testing.assert_allclose(losses_at(quadratic, PARAMS, BATCHES, [one, two], at), wanted, rtol=1e-5)
    end = jax.tree.map(lambda x: 3 * x, PARAMS)
    way = losses_at(quadratic, PARAMS, BATCHES, [jax.tree.map(jnp.subtract, end, PARAMS)], [[0.0], [0.5], [1.0]])
    np.testing.assert_allclose(way, value(PARAMS["kernel"]) * np.array([1, 4, 9]), rtol=1e-5)


def test_the_gap_of_a_quadratic_loss():
    """Around its minimum every draw gives `s^2` times a number of its own."""

    def around(params, rows):
        moved = {"kernel": params["kernel"] - PARAMS["kernel"]}
        return quadratic(moved, rows) + 7

    gap = perturbation_gap(around, PARAMS, BATCHES, KEY, scales=(0.1, 0.2), draws=4)
    each = [value(filter_normalised(jax.random.fold_in(KEY, n), PARAMS)["kernel"]) for n in range(4)]
    np.testing.assert_allclose(gap.mean, np.mean(each) * np.array([0.01, 0.04]), rtol=1e-4)
    np.testing.assert_allclose(gap.error, np.std(each, ddof=1) / 2 * np.array([0.01, 0.04]), rtol=1e-4)


def test_scales_of_filters_do_not_matter_where_the_net_does_not_see_them():
    """A layer in front of batch norm with weights and statistics three times as large is the same function: so is its gap."""
    net = models.conv_net((3,), 2)
    batch = [{"image": jnp.asarray(RNG.uniform(size=(6, 4, 4, 1)), jnp.float32), "label": jnp.arange(6) % 2}]
    params, stats = net.init(KEY, batch[0]["image"])
    large = {**params, "stage1_conv": jax.tree.map(lambda x: 3 * x, params["stage1_conv"])}
    wide = {
        "batch_stats": jax.tree.map(lambda x: 9 * x - 8e-5, stats["batch_stats"])
    }  # variances, with the epsilon of 1e-5 in them
    options = {"scales": (0.5,), "draws": 2}
    one = perturbation_gap(evaluation_loss(net, stats), params, batch, KEY, **options)
    other = perturbation_gap(evaluation_loss(net, wide), large, batch, KEY, **options)
    np.testing.assert_allclose(other.mean, one.mean, rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: losses_at(quadratic, PARAMS, BATCHES, [PARAMS], [0.0]), "expected \\[N, 1\\]"),
        (lambda: losses_at(quadratic, PARAMS, BATCHES, [{"kernel": PARAMS["kernel"]}], [[0.0]]), "a direction of other shapes"),
        (lambda: losses_at(quadratic, PARAMS, [], [PARAMS], [[0.0]]), "batches hold no row"),
        (lambda: perturbation_gap(quadratic, PARAMS, BATCHES, KEY, draws=1), "draws=1"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
