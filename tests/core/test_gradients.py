"""`learn` gives the gradient of the global mean in six ways of running, for losses of three kinds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax import core

N = 4
MODES = ("jit", "named", "shard_map", "shard_map_unchecked", "pmap", "vmap")


def mesh():
    return jax.make_mesh((N,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:N])


def run(mode, f, shared, rows):
    """Runs `f(shared, rows, axis_name)`, `rows` spread over N devices; what comes back is equal on all devices."""
    if mode == "jit":
        return jax.jit(lambda s, r: f(s, r, None))(shared, rows)
    if mode == "named":
        split = NamedSharding(mesh(), P("data"))
        return jax.jit(lambda s, r: f(s, r, None), out_shardings=NamedSharding(mesh(), P()))(shared, jax.device_put(rows, split))
    g = lambda s, r: f(s, r, "data")  # noqa: E731
    if mode.startswith("shard_map"):
        check = mode == "shard_map"
        return jax.jit(jax.shard_map(g, mesh=mesh(), in_specs=(P(), P("data")), out_specs=P(), check_vma=check))(shared, rows)
    parts = jax.tree.map(lambda x: x.reshape(N, -1, *x.shape[1:]), rows)
    mapped = jax.pmap if mode == "pmap" else lambda g, **options: jax.jit(jax.vmap(g, **options))
    out = mapped(g, in_axes=(None, 0), axis_name="data")(shared, parts)
    for leaf in jax.tree.leaves(out):
        np.testing.assert_allclose(leaf, np.broadcast_to(leaf[:1], leaf.shape), rtol=1e-6)
    return jax.tree.map(lambda x: x[0], out)


def per_example(params, x, axis_name):
    h = jnp.tanh(x @ params["w"])
    return jnp.mean(jnp.sum(h**2, -1)), h


def batch_coupled(params, x, axis_name):
    h = jnp.tanh(x @ params["w"])
    everybody = core.gather(h, axis_name)
    scores = h @ everybody.T
    own = core.offset(len(x), axis_name) + jnp.arange(len(x))
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, own)), h


def statistic_inside(params, x, axis_name):
    h = jnp.tanh(x @ params["w"])
    second_moment = core.pmean(h.T @ h / len(h), axis_name)
    return jnp.sum((second_moment - jnp.eye(len(second_moment))) ** 2), h


def one_step(loss):
    def f(learner, x, axis_name):
        def objective(params, x):
            value, h = loss(params, x, axis_name)
            return value, ({"mean": jnp.mean(h, 0), "count": jnp.int32(3)}, {"norm": jnp.mean(h**2)})

        new, metrics = core.learn(objective, learner, optax.sgd(0.1), x, axis_name=axis_name)
        return new.params, new.stats, metrics

    return f


@pytest.fixture(scope="module")
def problem():
    a, b = jax.random.split(jax.random.key(0))
    params = {"w": jax.random.normal(a, (5, 3))}
    stats = {"mean": jnp.zeros(3), "count": jnp.int32(0)}
    return core.Learner(params, stats, optax.sgd(0.1).init(params)), jax.random.normal(b, (16, 5))


@pytest.mark.parametrize("loss", [per_example, batch_coupled, statistic_inside])
@pytest.mark.parametrize("mode", MODES)
def test_the_step_is_the_same_in_six_modes(problem, loss, mode):
    learner, x = problem
    params, stats, metrics = run(mode, one_step(loss), learner, x)
    value, grads = jax.jit(jax.value_and_grad(lambda p: loss(p, x, None)[0]))(learner.params)
    np.testing.assert_allclose(params["w"], learner.params["w"] - 0.1 * grads["w"], atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-6)
    np.testing.assert_allclose(stats["mean"], jnp.mean(jnp.tanh(x @ learner.params["w"]), 0), atol=1e-6)
    assert stats["count"] == 3


@pytest.mark.parametrize("mode", MODES)
def test_the_optimiser_may_look_at_the_loss(problem, mode):
    """A step down the gradient of what it is told, as a line search takes it."""
    learner, x = problem

    def update(updates, state, params, *, value, grad, value_fn):
        found, slope = jax.value_and_grad(value_fn)(params)
        return jax.tree.map(lambda s, g: -0.1 * s * (value / found) + 0 * g, slope, grad), state

    def f(learner, x, axis_name):
        def objective(params, x):
            return batch_coupled(params, x, axis_name)[0], ({}, {})

        tx = optax.GradientTransformationExtraArgs(optax.sgd(0.1).init, update)
        return core.learn(objective, learner, tx, x, axis_name=axis_name)[0].params

    wanted = learner.params["w"] - 0.1 * jax.jit(jax.grad(lambda p: batch_coupled(p, x, None)[0]))(learner.params)["w"]
    np.testing.assert_allclose(run(mode, f, learner, x)["w"], wanted, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", [per_example, batch_coupled, statistic_inside])
def test_latents_and_weights_learn_together(mode, loss):
    """The latents lie with the batch, the weights on every device: each gets the gradient of the global mean."""
    z, w = jax.random.normal(jax.random.key(1), (2 * N, 3)), {"w": jax.random.normal(jax.random.key(2), (3, 2))}

    def gradients(shared, z, axis_name):
        def both(params, x):
            value, h = loss(params["shared"], params["z"] * x, axis_name)
            return value, {"h": jnp.mean(h)}

        rows = {"z": True, "shared": False}
        (value, _), g = core.mean_grad(both, {"z": z, "shared": shared}, jnp.ones_like(z), axis_name=axis_name, rows=rows)
        return value, {"shared": g["shared"], "z": core.gather_replicated(g["z"], axis_name)}

    wanted = jax.jit(jax.value_and_grad(lambda p: loss(p["shared"], p["z"], None)[0]))({"z": z, "shared": w})
    for a, b in zip(jax.tree.leaves(run(mode, gradients, w, z)), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_rows_get_the_gradient_of_the_global_mean(mode):
    """Latents sharded with the batch: no average of their gradient, with and without terms that couple rows."""
    z, w = jax.random.normal(jax.random.key(1), (8, 3)), jax.random.normal(jax.random.key(2), (3, 4))

    def loss(z, axis_name):
        p = jax.nn.softmax(z @ w)
        coupled = core.pmean(jnp.mean(p, 0), axis_name)
        return jnp.mean(jnp.sum(jnp.sin(z), -1)) + jnp.sum(coupled * jnp.log(coupled))

    def f(_, z, axis_name):
        _, g = core.mean_grad(lambda z, _: (loss(z, axis_name), None), z, z, axis_name=axis_name, rows=True)
        placed = jnp.zeros((8, 3)) if axis_name is None else None
        if axis_name is None:
            return placed + g
        everywhere = jax.lax.dynamic_update_slice_in_dim(jnp.zeros((8, 3)), g, core.offset(len(z), axis_name), 0)
        return core.psum(everywhere, axis_name)

    np.testing.assert_allclose(run(mode, f, jnp.zeros(()), z), jax.jit(jax.grad(lambda z: loss(z, None)))(z), atol=1e-6)


@pytest.mark.parametrize("mode", ["jit", "shard_map"])
def test_accumulation_equals_the_whole_batch(problem, mode):
    learner, x = problem

    def f(micro):
        def step(learner, x, axis_name):
            def loss(params, x):
                value, h = per_example(params, x, axis_name)
                return value, ({"mean": jnp.mean(h, 0), "count": jnp.int32(1)}, {})

            return core.learn(loss, learner, optax.sgd(0.1), x, axis_name=axis_name, micro=micro)

        return step

    for a, b in zip(*(jax.tree.leaves(run(mode, f(n), learner, x)) for n in (1, 2)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_micro_that_does_not_divide_is_refused(problem):
    learner, x = problem
    with pytest.raises(core.InputError, match=r"micro=3 .* must divide .*\[16\]"):
        core.mean_grad(lambda p, x: (jnp.mean(x), None), learner.params, x, micro=3)
    with pytest.raises(core.InputError, match="rows=True"):
        core.mean_grad(lambda p, x: (jnp.mean(x), None), x, x, rows=True, micro=2)


@pytest.mark.parametrize("mode", MODES)
def test_masked_mean_queue_and_row_keys_are_global(mode):
    x = jnp.array([1.0, 9, 9, 9, 2, 3, 4, 9])
    mask = jnp.array([1, 0, 0, 0, 1, 1, 1, 0], bool)

    def f(queue, rows, axis_name):
        x, mask = rows
        noise = core.row_normal(jax.random.key(3), len(x), (2,), axis_name)
        queue = core.push(queue, noise, axis_name)
        return core.mean(x, mask, axis_name), core.push(queue, x[:, None] * jnp.ones((1, 2)), axis_name)

    mean, queue = run(mode, f, core.new_queue(jnp.zeros((12, 2))), (x, mask))
    assert mean == 2.5
    np.testing.assert_array_equal(queue.rows[:4, 0], x[4:])
    np.testing.assert_array_equal(queue.rows[8:, 0], x[:4])
    np.testing.assert_allclose(queue.rows[4:8], core.row_normal(jax.random.key(3), 8, (2,))[4:], rtol=1e-6)
    assert queue.pushed == 16 and bool(queue.filled.all())
