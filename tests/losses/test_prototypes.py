import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    halves_equal_whole,
    log_softmax,
    refused,
    same_gradient,
    same_value,
    value_and_grad,
)

from kdjax import losses
from kdjax.core import unit

RNG = np.random.default_rng(5)
SCORES = RNG.uniform(-1, 1, size=(4, 6, 5)).astype(np.float32)
CODES = RNG.dirichlet(np.ones(5), (2, 6)).astype(np.float32)
CLUSTERS = np.array([0, 4, -1, 2, 2, -1])
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)


def swapped(scores, codes, temperature):
    log_p = log_softmax(np.float64(scores) / temperature)
    each = [-(np.float64(codes[a]) * log_p[v]).sum(-1).mean() for a in range(len(codes)) for v in range(len(log_p)) if v != a]
    return np.mean(each)


def transport(scores, epsilon, iterations):
    """The authors' order of steps, on Q itself."""
    q = np.exp(np.float64(scores).T / epsilon)
    q /= q.sum()
    prototypes, rows = q.shape
    for _ in range(iterations):
        q /= q.sum(1, keepdims=True) * prototypes
        q /= q.sum(0, keepdims=True) * rows
    return (q * rows).T


def classified(outputs, clusters, temperature):
    log_p, rows = log_softmax(np.float64(outputs) / temperature), np.flatnonzero(clusters >= 0)
    return -log_p[:, rows, clusters[rows]].mean()


def test_swav_golden(golden):
    g = golden("solo_learn/swav")
    options = {"epsilon": float(g["hp_epsilon"]), "iterations": int(g["hp_sinkhorn_iterations"])}

    def loss(scores):
        codes = jnp.stack([losses.sinkhorn(s, **options) for s in scores[:2]])
        return losses.swav(scores, codes, temperature=float(g["hp_temperature"])), codes

    (value, codes), gradient = value_and_grad(loss, has_aux=True)(np.stack([g[f"scores{v}"] for v in range(3)]))
    same_value(value, g["loss"])
    same_gradient(codes, np.stack([g["assignments0"], g["assignments1"]]), 1e-6)
    same_gradient(gradient, np.stack([g[f"grad_scores{v}"] for v in range(3)]))


def test_multi_crop_with_a_queue_over_four_steps_golden(golden):
    """Rows of a queue that is not full have scores of -inf."""
    g = golden("swav/multicrop_queue")
    steps, rows, width = g["embeddings"].shape
    large, views = int(g["hp_large_crops"]), int(g["hp_large_crops"] + g["hp_small_crops"])
    options = {"epsilon": float(g["hp_epsilon"]), "iterations": int(g["hp_sinkhorn_iterations"])}
    prototypes = g["prototypes"] / np.linalg.norm(g["prototypes"], axis=1, keepdims=True)
    batch = rows // views

    def loss(embeddings, queue):
        views_first = unit(embeddings, 1).reshape(views, batch, width)
        scores = views_first @ prototypes.T
        earlier = jnp.where(jnp.any(queue[:, -1] != 0), queue @ prototypes.T, -jnp.inf)
        both = jnp.concatenate([earlier, scores[:large]], axis=1)
        codes = jnp.stack([losses.sinkhorn(s, **options)[-batch:] for s in both])
        queue = jnp.concatenate([views_first[:large], queue[:, :-batch]], axis=1)
        return losses.swav(scores, codes, temperature=float(g["hp_temperature"])), queue

    step, queue = value_and_grad(loss, has_aux=True), jnp.zeros_like(g["queue_after"])
    for k in range(steps):
        (value, queue), gradient = step(g["embeddings"][k], queue)
        same_value(value, g["loss_per_step"][k])
        same_gradient(gradient, g["grad_embeddings"][k])
    same_value(queue, g["queue_after"])


@pytest.mark.parametrize("given", [1, 2, 4])
def test_swav_oracle(given):
    codes = RNG.dirichlet(np.ones(5), (given, 6)).astype(np.float32)
    value, gradient = value_and_grad(lambda s: losses.swav(s, codes, temperature=0.1))(SCORES)
    same_value(value, swapped(SCORES, codes, 0.1))
    same_gradient(gradient, differences(lambda s: swapped(s, codes, 0.1), SCORES))


def test_swav_stops_at_the_codes():
    assert not jax.jit(jax.grad(lambda q: losses.swav(SCORES, q, temperature=0.1)))(CODES).any()


def test_swav_extreme_and_masked_scores():
    codes = np.eye(3, dtype=np.float32)[[[0, 2, 1, 1]]]
    both = value_and_grad(lambda s, q: losses.swav(s, q, temperature=0.1))
    value, gradient = both(np.stack([EXTREME, EXTREME]), codes)
    same_value(value, swapped(np.stack([EXTREME, EXTREME]), codes, 0.1))
    assert jnp.all(jnp.isfinite(gradient))
    masked, codes = np.pad(SCORES, ((0, 0), (0, 0), (0, 1)), constant_values=-np.inf), np.pad(CODES, ((0, 0), (0, 0), (0, 1)))
    value, gradient = both(masked, codes)
    same_value(value, swapped(SCORES, CODES, 0.1))
    assert jnp.all(jnp.isfinite(gradient))


def test_sinkhorn_golden(golden):
    g = golden("swav/distributed_sinkhorn")
    codes = losses.sinkhorn(g["scores"], epsilon=float(g["hp_epsilon"]), iterations=int(g["hp_sinkhorn_iterations"]))
    same_value(codes, g["assignments"], 2e-5)


@pytest.mark.parametrize(("epsilon", "iterations"), [(0.05, 1), (0.5, 3), (0.05, 40)])
def test_sinkhorn_oracle(epsilon, iterations):
    for scores in (SCORES[0], SCORES[:, :2].reshape(8, 5), SCORES[0, :3]):  # the last: fewer rows than prototypes
        codes = losses.sinkhorn(scores, epsilon=epsilon, iterations=iterations)
        same_gradient(codes, transport(scores, epsilon, iterations), 2e-6)
        same_value(codes.sum(1), np.ones(len(scores)), 1e-6)


def test_sinkhorn_shares_prototypes_out():
    """The card's check: on random unit vectors the use of every prototype is within 20% of even after three rounds."""
    rows, prototypes = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (RNG.normal(size=(n, 32)) for n in (512, 16)))
    use = losses.sinkhorn(np.float32(rows @ prototypes.T), epsilon=0.05, iterations=3).mean(0)
    assert np.all(np.abs(16 * use - 1) < 0.2)
    alone = jax.nn.softmax(rows @ prototypes.T / 0.05).mean(0)
    assert np.any(np.abs(16 * alone - 1) > 0.2)


def test_sinkhorn_of_one_row_a_prototype_is_a_permutation():
    order = RNG.permutation(6)
    codes = losses.sinkhorn(np.eye(6, dtype=np.float32)[order] + np.float32(0.1) * SCORES[0, :, :1], epsilon=0.02, iterations=3)
    np.testing.assert_allclose(codes, np.eye(6)[order], atol=1e-6)


def test_sinkhorn_is_stable_and_counts_no_dead_row():
    for epsilon in (1e-3, 0.05, 1e3):
        codes = losses.sinkhorn(EXTREME, epsilon=epsilon, iterations=3)
        same_value(codes.sum(1), np.ones(4), 1e-6)
    # What all rows have in common of a prototype does not count, however large it is.
    steps = np.round(SCORES[0] * 64) / 64
    same_gradient(losses.sinkhorn(steps + 4096, epsilon=0.07, iterations=3), transport(steps, 0.07, 3), 1e-6)
    dead = np.concatenate([np.full((2, 5), -np.inf, np.float32), SCORES[0]])
    codes = jax.jit(lambda s: losses.sinkhorn(s, epsilon=0.05, iterations=3))(dead)
    assert not codes[:2].any()
    same_gradient(codes[2:], transport(SCORES[0], 0.05, 3), 1e-6)
    masked = np.pad(SCORES[0], ((0, 0), (0, 1)), constant_values=-np.inf)
    codes = losses.sinkhorn(masked, epsilon=0.05, iterations=3)
    assert not codes[:, 5].any()
    same_gradient(codes[:, :5], transport(SCORES[0], 0.05, 3), 1e-6)


def test_sinkhorn_options_may_be_traced_and_no_gradient_flows():
    def summed(s, epsilon, iterations):
        return jnp.sum(losses.sinkhorn(s, epsilon=epsilon, iterations=iterations) ** 2)

    many = jax.jit(jax.vmap(summed, (None, 0, 0)))(SCORES[0], jnp.array([0.05, 0.5]), jnp.array([1, 3]))
    same_value(many, [(transport(SCORES[0], e, n) ** 2).sum() for e, n in ((0.05, 1), (0.5, 3))], 1e-5)
    assert not jax.jit(jax.grad(summed))(SCORES[0], 0.05, 3).any()


def test_deepcluster_golden(golden):
    g = golden("solo_learn/deepclusterv2")

    def loss(outputs):
        heads = jax.vmap(lambda o, y: losses.deepcluster(o, y, temperature=float(g["hp_temperature"])))
        return jnp.mean(heads(outputs, g["assignments"]))

    value, gradient = value_and_grad(loss)(g["outputs"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_outputs"])
    assert (g["assignments"] == -1).any()


def test_deepcluster_oracle():
    value, gradient = value_and_grad(lambda z: losses.deepcluster(z, CLUSTERS, temperature=0.3))(SCORES)
    same_value(value, classified(SCORES, CLUSTERS, 0.3))
    same_gradient(gradient, differences(lambda z: classified(z, CLUSTERS, 0.3), SCORES))


def test_deepcluster_leaves_images_without_a_cluster_out():
    spoiled = np.where((CLUSTERS >= 0).reshape(1, 6, 1), SCORES, np.float32(np.nan))
    both = value_and_grad(lambda z, y: losses.deepcluster(z, y, temperature=0.3))
    value, gradient = both(spoiled, CLUSTERS)
    same_value(value, classified(SCORES, CLUSTERS, 0.3))
    assert jnp.all(jnp.isfinite(gradient))
    value, gradient = both(spoiled, np.full(6, -1))
    assert value == 0 and not gradient.any()
    assert np.isnan(both(SCORES, np.full(6, 5))[0])


def test_deepcluster_extreme_outputs():
    value, gradient = value_and_grad(lambda z: losses.deepcluster(z[None], np.array([2, 0, 1, 1]), temperature=0.1))(EXTREME)
    same_value(value, classified(EXTREME[None], np.array([2, 0, 1, 1]), 0.1))
    assert jnp.all(jnp.isfinite(gradient))


def swav_of_rows(x, axis_name):
    """Codes of the rows of all devices, and the loss, of rows first."""
    scores = jnp.swapaxes(x, 0, 1)
    codes = jnp.stack([losses.sinkhorn(s, epsilon=0.5, iterations=3, axis_name=axis_name) for s in scores[:2]])
    return losses.swav(scores, codes, temperature=0.5, axis_name=axis_name)


def clusters_of_rows(x, axis_name):
    """The last number of a row is its cluster."""
    clusters = jnp.round(x[:, 0, -1]).astype(jnp.int32)
    return losses.deepcluster(jnp.swapaxes(x[..., :-1], 0, 1), clusters, temperature=0.5, axis_name=axis_name)


def test_two_halves_equal_the_whole():
    rows = SCORES.swapaxes(0, 1)
    halves_equal_whole(swav_of_rows, rows)
    clusters = np.broadcast_to(np.float32([0, 4, 3, -1, 2, -1]).reshape(6, 1, 1), (6, 4, 1))  # unequal counts in the halves
    halves_equal_whole(clusters_of_rows, np.concatenate([rows, clusters], axis=-1))


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda s, q: losses.swav(s, q, temperature=0.1), SCORES, CODES)
    bfloat16_reduces_in_float32(lambda z: losses.deepcluster(z, CLUSTERS, temperature=0.1), SCORES)
    assert losses.sinkhorn(jnp.asarray(SCORES[0], jnp.bfloat16), epsilon=0.05, iterations=3).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.swav(SCORES, CODES, temperature=0), ["temperature=0"]),
        (lambda: losses.swav(SCORES, CODES[:0], temperature=1), ["assignments has 0 views", "scores 4"]),
        (lambda: losses.swav(SCORES[:2], SCORES, temperature=1), ["assignments has 4 views", "scores 2"]),
        (lambda: losses.swav(SCORES[:1], CODES[:1], temperature=1), ["scores has 1 view", "2 views or more"]),
        (lambda: losses.swav(SCORES, CODES[..., :3], temperature=1), ["assignments", "(2, 6, 3)", "same K"]),
        (lambda: losses.sinkhorn(SCORES, epsilon=1, iterations=3), ["scores", "(4, 6, 5)", "[B, K]"]),
        (lambda: losses.sinkhorn(SCORES[0], epsilon=0, iterations=3), ["epsilon=0"]),
        (lambda: losses.sinkhorn(SCORES[0], epsilon=1, iterations=0), ["iterations=0", "1 or more"]),
        (lambda: losses.sinkhorn(SCORES[0], epsilon=1, iterations=2.5), ["iterations=2.5", "a whole number"]),
        (lambda: losses.sinkhorn(SCORES[0, :1], epsilon=1, iterations=3), ["sinkhorn", "1 row", "2 or more"]),
        (lambda: losses.deepcluster(SCORES[0], CLUSTERS, temperature=1), ["outputs", "(6, 5)", "[V, B, K]"]),
        (lambda: losses.deepcluster(SCORES, CLUSTERS[:4], temperature=1), ["assignments", "(4,)", "same B"]),
        (lambda: losses.deepcluster(SCORES, CODES[0, :, 0], temperature=1), ["assignments", "float32", "integer"]),
        (lambda: losses.deepcluster(SCORES, CLUSTERS, temperature=-1), ["temperature=-1"]),
    ],
)
def test_refused_in_one_line(call, words):
    refused(call, words)
