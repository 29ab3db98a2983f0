import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, from_linen
from kdjax.models import mlp_head
from kdjax.models.iterative_norm import IterativeNorm, inverse_square_root

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(24, 8)) @ RNG.normal(size=(8, 8)) + RNG.normal(size=8)).astype(np.float32)


def whitened(x, group, iterations, epsilon=1e-5):
    """In NumPy float64, group by group: what is made of the rows, the means and the matrices."""
    made, means, matrices = [], [], []
    for k in range(0, x.shape[1], group):
        part = np.float64(x[:, k : k + group])
        mean = part.mean(0)
        s = (part - mean).T @ (part - mean) / len(part) + epsilon * np.eye(group)
        p = np.eye(group)
        for _ in range(iterations):
            p = 1.5 * p - 0.5 * np.linalg.matrix_power(p, 3) @ s / np.trace(s)
        w = p / np.sqrt(np.trace(s))
        made.append((part - mean) @ w.T)
        means.append(mean)
        matrices.append(w)
    return np.concatenate(made, 1), np.stack(means), np.stack(matrices)


def built(**options):
    net = from_linen(IterativeNorm(**options))
    params, stats = net.init(jax.random.key(0), X)
    return net, params, stats


@pytest.mark.parametrize(("group", "width", "iterations"), [(4, 4, 5), (8, 8, 3), (6, 1, 5), (32, 8, 1)])
def test_rows_and_running_statistics_equal_numpy(group, width, iterations):
    net, params, stats = built(group=group, iterations=iterations)
    params = {"scale": jnp.arange(1.0, 9.0), "bias": jnp.arange(8.0)}
    taps, new = jax.jit(lambda s: net.apply(params, s, X, train=True))(stats)
    rows, mean, matrix = whitened(X, width, iterations)
    np.testing.assert_allclose(taps["logits"], rows * np.arange(1, 9) + np.arange(8), atol=2e-4)
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * mean, atol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["matrix"], 0.9 * np.eye(width) + 0.1 * matrix, atol=1e-5)
    settled = {"batch_stats": {"mean": jnp.asarray(mean, jnp.float32), "matrix": jnp.asarray(matrix, jnp.float32)}}
    seen, kept = net.apply(params, settled, X[:5], train=False)
    np.testing.assert_allclose(seen["logits"], taps["logits"][:5], atol=2e-4)
    assert kept is not None and jax.tree.all(jax.tree.map(np.array_equal, kept, settled))


def test_some_iterations_are_near_to_the_inverse_square_root():
    vectors, values = np.linalg.qr(RNG.normal(size=(8, 8)))[0], np.linspace(0.5, 2.0, 8)
    s = jnp.asarray((vectors * values) @ vectors.T, jnp.float32)
    wanted = (vectors / np.sqrt(values)) @ vectors.T
    apart = [float(np.abs(inverse_square_root(s, n) - wanted).max()) for n in (5, 12)]
    assert apart[1] < 1e-4 < apart[0]


def test_gradients_equal_differences():
    net, params, stats = built(group=4, iterations=2)
    weights = RNG.normal(size=X.shape)

    def loss(x):
        return jnp.sum(jnp.asarray(weights, jnp.float32) * net.apply(params, stats, x, train=True)[0]["logits"])

    found, way = jax.jit(jax.grad(loss))(X), RNG.normal(size=X.shape)
    ahead, behind = (np.sum(weights * whitened(X + step * way, 4, 2)[0]) for step in (1e-5, -1e-5))
    np.testing.assert_allclose(np.sum(np.float64(found) * way), (ahead - behind) / 2e-5, rtol=1e-3)


def test_devices_share_mean_and_covariance():
    net, params, stats = built(group=4)
    shared = from_linen(IterativeNorm(group=4, axis_name="data"))
    whole = net.apply(params, stats, X, train=True)
    halves = jax.vmap(lambda x: shared.apply(params, stats, x, train=True), axis_name="data", out_axes=({"logits": 0}, None))
    taps, new = jax.jit(halves)(X.reshape(2, 12, 8))
    np.testing.assert_allclose(taps["logits"].reshape(24, 8), whole[0]["logits"], atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), new, whole[1])


def test_a_head_may_end_in_it():
    net = mlp_head(6, 8, layers=2, last_norm="iterative")
    params, stats = net.init(jax.random.key(0), X)
    taps, new = net.apply(params, stats, X, train=True)
    assert taps["embedding"].shape == (24, 8) and params["norm2"]["scale"].shape == (8,)
    assert not np.array_equal(new["batch_stats"]["norm2"]["matrix"], stats["batch_stats"]["norm2"]["matrix"])
    alike = np.abs(np.corrcoef(taps["embedding"].T) - np.eye(8)).max()
    plain, _ = mlp_head(6, 8, layers=2, last_norm="plain").apply(
        {k: v for k, v in params.items() if k != "norm2"}, {"batch_stats": {"bn1": stats["batch_stats"]["bn1"], "bn2": {
            "mean": jnp.zeros(8), "var": jnp.ones(8)}}}, X, train=True
    )  # fmt: skip
    assert alike < np.abs(np.corrcoef(plain["embedding"].T) - np.eye(8)).max()


def test_a_single_row_and_options_out_of_range_are_refused():
    net, params, stats = built()
    with pytest.raises(InputError, match="iterative norm in training is given 1 row"):
        net.apply(params, stats, X[:1], train=True)
    for option in ("group", "iterations"):
        with pytest.raises(InputError, match=f"^{option}=0 is not accepted"):
            built(**{option: 0})
