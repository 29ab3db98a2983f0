"""Statistics of batch norm measured anew."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import estimate_statistics, from_linen


class Two(nn.Module):
    """The second norm sees what the first one makes of a batch."""

    momentum: float

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=self.momentum, name="first")(x)
        x = nn.Dense(2, name="dense")(nn.relu(x))
        return nn.BatchNorm(use_running_average=not train, momentum=0.99, name="second")(x)


def test_they_are_the_means_over_batches():
    """By hand, in float64, whatever the momentum and the statistics before."""
    batches = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (4, 8, 3)), jnp.float32)
    net = from_linen(Two(0.9))
    params, stats = net.init(jax.random.key(0), batches[0])
    found = jax.jit(lambda stats: estimate_statistics(net, params, stats, batches))(jax.tree.map(lambda s: s + 5.0, stats))[
        "batch_stats"
    ]
    x = np.asarray(batches, np.float64)
    mean, var = x.mean(1), x.var(1)
    np.testing.assert_allclose(found["first"]["mean"], mean.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found["first"]["var"], var.mean(0), rtol=1e-4)
    h = np.maximum((x - mean[:, None]) / np.sqrt(var[:, None] + 1e-5), 0) @ np.asarray(params["dense"]["kernel"], np.float64)
    np.testing.assert_allclose(found["second"]["mean"], h.mean(1).mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["second"]["var"], h.var(1).mean(0), rtol=1e-3)


def test_what_does_not_move_stays():
    net = from_linen(Two(1.0))
    x = jnp.tile(jnp.arange(8.0)[None, :, None], (2, 1, 3))
    params, stats = net.init(jax.random.key(0), x[0])
    stats = {"batch_stats": stats["batch_stats"] | {"first": {"mean": jnp.full(3, 0.25), "var": jnp.full(3, 4.0)}}}
    found = estimate_statistics(net, params, stats, x)["batch_stats"]["first"]
    np.testing.assert_array_equal(found["mean"], stats["batch_stats"]["first"]["mean"])
