import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    halves_equal_whole,
    log_softmax,
    refused,
    same_gradient,
    same_value,
    softmax,
    value_and_grad,
)

from kdjax import core, losses
from kdjax.core import collectives

RNG = np.random.default_rng(8)
QUERY, KEY = RNG.normal(size=(2, 6, 5)).astype(np.float32)
QUEUE = RNG.normal(size=(9, 5)).astype(np.float32)
VIEWS = RNG.normal(size=(3, 6, 5)).astype(np.float32)


def directions(x):
    x = np.float64(x)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def cosines(a, b):
    return directions(a) @ directions(b).T


def info_nce(query, key, temperature=0.2):
    return -np.diag(log_softmax(cosines(query, key) / temperature))


def nt_xent(views, temperature=0.2):
    count, rows, width = views.shape
    flat = views.reshape(-1, width)
    exp = np.exp(cosines(flat, flat) / temperature) * (1 - np.eye(len(flat)))
    image = np.tile(np.arange(rows), count)
    positives = (exp * (image[:, None] == image)).sum(1)
    return -np.log(positives / exp.sum(1)).reshape(count, rows)


def moco(query, key, queue=QUEUE, temperature=0.2):
    own = (directions(query) * directions(key)).sum(1, keepdims=True)
    return -log_softmax(np.concatenate([own, cosines(query, queue)], 1) / temperature)[:, 0]


def ressl(query, key, queue=QUEUE, temperature=0.1, sharp=0.04):
    return -(softmax(cosines(key, queue) / sharp) * log_softmax(cosines(query, queue) / temperature)).sum(1)


# The loss and the oracle as functions of what the first argument moves; what else it is given.
LOSSES = {
    "info_nce": (functools.partial(losses.info_nce, temperature=0.2), info_nce, QUERY, KEY),
    "nnclr": (lambda p, n, **axis: losses.nnclr(n, p, temperature=0.2, **axis), lambda p, n: info_nce(n, p), QUERY, KEY),
    "nt_xent": (functools.partial(losses.nt_xent, temperature=0.2), nt_xent, VIEWS),
    "nt_xent, two views": (functools.partial(losses.nt_xent, temperature=0.2), nt_xent, VIEWS[:2]),
    "moco": (functools.partial(losses.moco, queue=QUEUE, temperature=0.2), moco, QUERY, KEY),
    "ressl": (functools.partial(losses.ressl, queue=QUEUE, query_temperature=0.1, key_temperature=0.04), ressl, QUERY, KEY),
}


@pytest.mark.parametrize("name", LOSSES)
def test_oracle(name):
    loss, expected, x, *others = LOSSES[name]
    (_, rows), gradient = value_and_grad(lambda x: (jnp.sum(loss(x, *others)), loss(x, *others)), has_aux=True)(x)
    same_value(rows, expected(x, *others))
    same_gradient(gradient, differences(lambda x: expected(x, *others).sum(), x))


@pytest.mark.parametrize(
    ("name", "arrays", "loss"),
    [
        ("mocov2plus", "query key", lambda g, q, k: losses.moco(q, k, g["queue"].T, temperature=g["hp_temperature"])),
        # The factor of the method, which is no part of the loss.
        ("mocov3", "query key", lambda g, q, k: 0.4 * losses.info_nce(q, k, temperature=g["hp_temperature"])),
        ("nnclr", "p nn", lambda g, p, n: losses.nnclr(n, p, temperature=g["hp_temperature"], stop_neighbours=False)),
        ("simclr", "z", lambda g, z: losses.nt_xent(z.reshape(2, 5, 8), temperature=g["hp_temperature"])),
        (
            "ressl",
            "query key",
            lambda g, q, k: losses.ressl(
                q, k, g["queue"], query_temperature=g["hp_temperature_q"], key_temperature=g["hp_temperature_k"]
            ),
        ),
    ],
)
def test_benchmark_golden(golden, name, arrays, loss):
    g = golden(f"solo_learn/{name}")
    names = arrays.split()
    trained = [n for n in names if f"grad_{n}" in g]
    both = value_and_grad(lambda *x: jnp.mean(loss(g, *x)), argnums=tuple(range(len(trained))))
    value, gradients = both(*(g[n] for n in names))
    same_value(value, g["loss"])
    for n, gradient in zip(trained, gradients, strict=True):
        same_gradient(gradient, g[f"grad_{n}"])


def test_moco_v3_golden(golden):
    g = golden("official_ssl/moco_v3")
    t = g["hp_temperature"]

    def loss(q1, q2):
        each = losses.info_nce(q1, g["k2"], temperature=t) + losses.info_nce(q2, g["k1"], temperature=t)
        return 2 * t * jnp.mean(each)

    value, gradients = value_and_grad(loss, argnums=(0, 1))(g["q1"], g["q2"])
    same_value(value, g["loss"])
    same_gradient(gradients[0], g["grad_q1"])
    same_gradient(gradients[1], g["grad_q2"])


def test_fast_moco_golden(golden):
    g = golden("fast_moco/comb_patch")
    each = jax.vmap(functools.partial(losses.info_nce, temperature=g["hp_temperature"]), in_axes=(0, None))
    value = sum(jnp.mean(each(g[p].reshape(6, 4, 6).astype(np.float32), g[z])) for p, z in (("p1", "z2"), ("p2", "z1"))) / 2
    same_value(value, g["loss"])


def test_moco_and_its_queue_over_two_steps_golden(golden):
    g = golden("moco/two_steps")

    def run(w_q, im_q):
        w_k, queue, each = g["w_k_kernel"], core.new_queue(jnp.asarray(directions(g["queue"].T), jnp.float32)), []
        for step in range(2):
            w_k = core.ema(w_k, jax.lax.stop_gradient(w_q), g["hp_momentum"])
            key = g["im_k"][step] @ w_k
            each.append(jnp.mean(losses.moco(im_q[step] @ w_q, key, queue.rows, temperature=g["hp_temperature"])))
            queue = core.push(queue, key / jnp.linalg.norm(key, axis=1)[:, None])
        return jnp.sum(jnp.stack(each)), (jnp.stack(each), queue, w_k)

    (value, (each, queue, w_k)), gradients = value_and_grad(run, argnums=(0, 1), has_aux=True)(g["w_q_kernel"], g["im_q"])
    same_value(value, g["loss"])
    same_value(each, g["loss_per_step"])
    same_gradient(gradients[0], g["grad_w_q_kernel"])
    same_gradient(gradients[1], g["grad_im_q"])
    same_gradient(queue.rows.T, g["queue_after"], 1e-6)
    same_gradient(w_k, g["w_k_kernel_after"], 1e-6)
    assert int(queue.pushed) == g["queue_ptr_after"]


def test_where_gradients_stop():
    for name in ("info_nce", "nnclr", "moco", "ressl"):
        assert not jax.grad(lambda k, loss=LOSSES[name][0]: jnp.sum(loss(QUERY, k)))(KEY).any()
    for of_queue in (
        lambda n: losses.moco(QUERY, KEY, n, temperature=0.2),
        lambda n: losses.ressl(QUERY, KEY, n, query_temperature=0.1, key_temperature=0.04),
    ):
        assert not jax.grad(lambda n, of_queue=of_queue: jnp.sum(of_queue(n)))(QUEUE).any()


def test_the_other_keys_as_a_queue_are_the_batch():
    rows = [losses.moco(QUERY[[i]], KEY[[i]], np.delete(KEY, i, 0), temperature=0.3)[0] for i in range(6)]
    same_value(losses.info_nce(QUERY, KEY, temperature=0.3), np.array(rows))


def test_nearest_is_by_cosine_and_a_constant():
    queue = QUEUE * np.linspace(1, 100, 9, dtype=np.float32)[:, None]
    same_value(losses.nearest(QUERY, queue), np.float64(queue)[cosines(QUERY, QUEUE).argmax(1)])
    same_value(losses.nearest(3 * queue, queue), np.float64(queue))
    moved = jax.grad(lambda z, n: jnp.sum(losses.nearest(z, n)), argnums=(0, 1))(QUERY, queue)
    assert not moved[0].any() and not moved[1].any()
    assert losses.nearest(QUERY, jnp.asarray(queue, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ["info_nce", "nnclr"])
def test_halves_of_pairs_equal_the_whole(name):
    def loss(both, axis_name):
        return collectives.mean(LOSSES[name][0](both[..., 0], both[..., 1], axis_name=axis_name), axis_name=axis_name)

    halves_equal_whole(loss, np.stack([QUERY, KEY], axis=-1))


def test_halves_of_predictions_and_trained_neighbours_equal_the_whole():
    def loss(both, axis_name):
        rows = losses.nnclr(both[..., 0], both[..., 1], temperature=0.2, stop_neighbours=False, axis_name=axis_name)
        return collectives.mean(rows, axis_name=axis_name)

    halves_equal_whole(loss, np.stack([QUERY, KEY], axis=-1))


def test_halves_of_views_equal_the_whole():
    def loss(rows, axis_name):
        each = losses.nt_xent(rows.swapaxes(0, 1), temperature=0.2, axis_name=axis_name)
        assert each.shape == (3, len(rows))
        return collectives.mean(each, axis_name=axis_name)

    halves_equal_whole(loss, VIEWS.swapaxes(0, 1))


def test_a_device_has_its_own_rows():
    split = jax.vmap(functools.partial(losses.info_nce, temperature=0.2, axis_name="data"), axis_name="data")
    same_value(split(QUERY.reshape(2, 3, 5), KEY.reshape(2, 3, 5)).reshape(6), info_nce(QUERY, KEY))


def test_queues_on_explicit_axes():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
    query, key = (jax.device_put(x, NamedSharding(mesh, P("data"))) for x in (QUERY, KEY))
    queue = jax.device_put(QUEUE, NamedSharding(mesh, P()))
    for name, loss in (
        ("moco", lambda q: losses.moco(q, key, queue, temperature=0.2)),
        ("ressl", lambda q: losses.ressl(q, key, queue, query_temperature=0.1, key_temperature=0.04)),
    ):
        value, gradient = value_and_grad(lambda q, loss=loss: jnp.sum(loss(q)))(query)
        expected = LOSSES[name][1]
        same_value(value, expected(QUERY, KEY).sum())
        same_gradient(gradient, differences(lambda q, expected=expected: expected(q, KEY).sum(), QUERY))
    same_value(jax.jit(losses.nearest)(query, queue), np.float64(losses.nearest(QUERY, QUEUE)))


@pytest.mark.parametrize("name", LOSSES)
def test_zero_equal_and_extreme_rows(name):
    loss, expected, x, *others = LOSSES[name]
    both = value_and_grad(lambda x, *others: jnp.sum(loss(x, *others)))
    zero = np.zeros_like(x)
    value, gradient = both(zero, *others)
    same_value(value, expected(zero, *others).sum())
    assert not gradient.any()
    one = np.broadcast_to(x[..., :1, :], x.shape)
    value, gradient = both(one, *others)
    same_value(value, expected(one, *others).sum())
    assert jnp.all(jnp.isfinite(gradient))
    for scale in np.float32([1e-8, 1e4, 1e25]):
        value, gradient = both(x * scale, *(other * scale for other in others))
        same_value(value, expected(x, *others).sum())
        same_gradient(gradient * np.float64(scale), differences(lambda x: expected(x, *others).sum(), x))


@pytest.mark.parametrize("temperature", [1e-3, 100.0])
def test_small_and_large_temperatures(temperature):
    for loss, expected in (
        (lambda q: losses.info_nce(q, QUERY[::-1], temperature=temperature), lambda q: info_nce(q, QUERY[::-1], temperature)),
        (lambda q: losses.moco(q, -KEY, QUEUE, temperature=temperature), lambda q: moco(q, -KEY, QUEUE, temperature)),
    ):
        value, gradient = value_and_grad(lambda q, loss=loss: jnp.sum(loss(q)))(QUERY)
        same_value(value, expected(QUERY).sum(), 1e-4)
        same_gradient(gradient, differences(lambda q, expected=expected: expected(q).sum(), QUERY, 1e-8), 1e-3)


def test_a_small_loss_keeps_its_digits():
    scores = cosines(QUERY, QUERY) / 0.05
    np.fill_diagonal(scores, -np.inf)
    exact = np.log1p(np.exp(scores - 20).sum(1))
    assert exact.min() < 1e-6
    same_value(losses.info_nce(QUERY, QUERY, temperature=0.05), exact)


def test_temperatures_under_vmap():
    t = jnp.array([0.1, 0.7])
    for sweep, expected in (
        (lambda t: losses.info_nce(QUERY, KEY, temperature=t), lambda t: info_nce(QUERY, KEY, t)),
        (lambda t: losses.nnclr(QUERY, KEY, temperature=t), lambda t: info_nce(QUERY, KEY, t)),
        (lambda t: losses.nt_xent(VIEWS, temperature=t), lambda t: nt_xent(VIEWS, t)),
        (lambda t: losses.moco(QUERY, KEY, QUEUE, temperature=t), lambda t: moco(QUERY, KEY, QUEUE, t)),
        (
            lambda t: losses.ressl(QUERY, KEY, QUEUE, query_temperature=t, key_temperature=2 * t),
            lambda t: ressl(QUERY, KEY, QUEUE, t, 2 * t),
        ),
    ):
        same_value(jax.vmap(sweep)(t), np.stack([expected(0.1), expected(0.7)]))


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16(name):
    loss, _, *arrays = LOSSES[name]
    bfloat16_reduces_in_float32(loss, *arrays)


def test_lists_are_taken():
    same_value(losses.info_nce(QUERY.tolist(), KEY.tolist(), temperature=0.2), info_nce(QUERY, KEY))
    same_value(losses.nt_xent(VIEWS.tolist(), temperature=0.2), nt_xent(VIEWS))
    same_value(losses.moco(QUERY.tolist(), KEY.tolist(), QUEUE.tolist(), temperature=0.2), moco(QUERY, KEY))


X, N = np.ones((4, 3), np.float32), np.ones((8, 3), np.float32)


def one_row_each(loss):
    return jax.vmap(functools.partial(loss, temperature=0.1, axis_name="data"), axis_name="data")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.info_nce(X, X[:, :2], temperature=0.1), ["key", "(4, 2)", "query", "(4, 3)"]),
        (lambda: losses.info_nce(X, X, temperature=0), ["temperature=0", "above 0"]),
        (lambda: losses.info_nce(X[:1], X[:1], temperature=0.1), ["info_nce", "1 row", "2 or more"]),
        (lambda: one_row_each(losses.info_nce)(X[None, :1], X[None, :1]), ["info_nce", "1 row", "all devices"]),
        (lambda: losses.nnclr(X[0], X, temperature=0.1), ["neighbours", "(3,)", "[B, D]"]),
        (lambda: losses.nnclr(X, X, temperature=-1.0), ["temperature=-1.0"]),
        (lambda: losses.nnclr(X, X, temperature=0.1, stop_neighbours=1), ["stop_neighbours=1", "True or False"]),
        (lambda: losses.nnclr(X[:1], X[:1], temperature=0.1), ["nnclr", "1 row"]),
        (lambda: losses.nt_xent(X, temperature=0.1), ["views", "(4, 3)", "[V, B, D]"]),
        (lambda: losses.nt_xent(X[None], temperature=0.1), ["views", "(1, 4, 3)", "2 views or more"]),
        (lambda: losses.nt_xent(X[:, None], temperature=0.1), ["nt_xent", "1 row"]),
        (lambda: losses.nt_xent(X[None].repeat(2, 0), temperature=np.nan), ["temperature=nan"]),
        (lambda: losses.moco(X, X, N.T, temperature=0.1), ["queue", "(3, 8)", "query", "(4, 3)", "[K, D]"]),
        (lambda: losses.moco(X, X, N[:0], temperature=0.1), ["queue", "(0, 3)", "1 row or more"]),
        (lambda: losses.moco(X, X, N, temperature=0.0), ["temperature=0.0"]),
        (lambda: losses.ressl(X, X, N[0], query_temperature=0.1, key_temperature=0.1), ["queue", "(3,)"]),
        (lambda: losses.ressl(X, X[:2], N, query_temperature=0.1, key_temperature=0.1), ["key", "(2, 3)"]),
        (lambda: losses.ressl(X, X, N, query_temperature=0, key_temperature=0.1), ["query_temperature=0"]),
        (lambda: losses.ressl(X, X, N, query_temperature=0.1, key_temperature=0), ["key_temperature=0"]),
        (lambda: losses.nearest(X, N[:, :2]), ["queue", "(8, 2)", "embedding", "(4, 3)"]),
        (lambda: losses.nearest(X, N[:0]), ["queue", "(0, 3)"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)


def test_one_row_on_each_of_two_devices_is_a_batch():
    rows = one_row_each(losses.info_nce)(QUERY[:2, None], KEY[:2, None])
    same_value(rows[:, 0], info_nce(QUERY[:2], KEY[:2], 0.1))
