import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from kdjax import models
from kdjax.core import normalised
from kdjax.core.check import InputError
from kdjax.evaluate import evaluation_loss, hessian_top, hessian_trace, negative_log_likelihood

RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0)
EVEN, ODD = RANDOM.normal(size=(2, 8, 8)).astype(np.float32) / 3
ROWS = [RANDOM.normal(size=(n, 4)).astype(np.float32) for n in (10, 10, 3)]  # the last batch is smaller


def quadratic(matrix):
    """A loss with the Hessian `matrix`, plus what has none."""
    return lambda p, batch: jnp.einsum("i,ij,j", p, matrix, p) / 2 * jnp.ones(len(batch)) + batch @ p[:4]


def symmetric(values):
    turn = np.linalg.qr(RANDOM.normal(size=(len(values), len(values))))[0]
    return (turn @ np.diag(values) @ turn.T).astype(np.float32)


@pytest.mark.parametrize(
    "values", [[9, 5, 2, 1, 0.5, 0, -1, -20], [1, 1, 1, 1, 1, 1, 1, 1], [-1, -2, -3, -4, -5, -6, -7, -8], [0] * 8, [3] + [0] * 7]
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_quadratic_has_the_eigenvalues_it_was_made_with(values, count):
    # The first is the largest, not the farthest from 0.
    top = hessian_top(quadratic(symmetric(values)), jnp.ones(8), ROWS, KEY, count=count, tolerance=1e-5)
    np.testing.assert_allclose(top.values, sorted(values)[::-1][:count], atol=1e-4)
    assert top.values.dtype == np.float64 and (top.errors <= 1e-4).all() and top.products <= 8


def test_the_errors_are_bounds_and_the_tolerance_ends_it():
    values = np.linspace(0, 10, 60)
    matrix = symmetric(values)
    loose = hessian_top(quadratic(matrix), jnp.ones(60), ROWS, KEY, count=2, tolerance=0.1)
    tight = hessian_top(quadratic(matrix), jnp.ones(60), ROWS, KEY, count=2, tolerance=1e-4)
    short = hessian_top(quadratic(matrix), jnp.ones(60), ROWS, KEY, count=2, tolerance=1e-4, iterations=4)
    assert 4 == short.products < loose.products < tight.products < 60
    assert (loose.errors <= 0.1 * loose.values).all() and (tight.errors <= 1e-4 * tight.values).all()
    assert (short.errors > 1e-4 * short.values).all()
    for top in (short, loose, tight):
        assert (np.abs(top.values[:, None] - values[None]).min(1) <= top.errors + 1e-5).all()
    np.testing.assert_allclose(tight.values, values[::-1][:2], rtol=1e-4)
    small = hessian_top(quadratic(1e-3 * matrix), jnp.ones(60), ROWS, KEY, count=2, tolerance=0.1)
    assert small.products == loose.products  # the tolerance is relative


def test_it_ends_with_the_number_of_weights():
    top = hessian_top(quadratic(symmetric(np.arange(8))), jnp.ones(8), ROWS, KEY, count=8, tolerance=0.0)
    assert top.products == 8
    np.testing.assert_allclose(top.values, np.arange(8)[::-1], atol=1e-4)


def regression(params, batch):
    return negative_log_likelihood(batch["x"] @ params["w"] + params["b"][None], batch["y"])


def closed_form(params, x, y):
    """The Hessian of softmax regression, weights of one class after the other."""
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    w = np.concatenate([params["w"], params["b"][None]]).astype(float)
    p = np.exp(x @ w)
    p /= p.sum(1, keepdims=True)
    inner = np.einsum("nk,kl->nkl", p, np.eye(p.shape[1])) - np.einsum("nk,nl->nkl", p, p)
    return np.einsum("nkl,ni,nj->kilj", inner, x, x).reshape(w.size, w.size) / len(x)


def test_logistic_regression_has_the_closed_form():
    params = {"w": RANDOM.normal(size=(4, 3)).astype(np.float32), "b": np.float32([0.5, 0, -1])}
    batches = [{"x": x, "y": RANDOM.integers(0, 3, len(x))} for x in ROWS]
    exact = closed_form(params, np.concatenate(ROWS).astype(float), np.concatenate([b["y"] for b in batches]))
    top = hessian_top(regression, params, batches, KEY, count=4, tolerance=1e-4)
    np.testing.assert_allclose(top.values, np.linalg.eigvalsh(exact)[::-1][:4], rtol=1e-4)
    trace = hessian_trace(regression, params, batches, KEY, draws=400)
    assert 0 < trace.error < 0.05 * np.trace(exact)
    assert abs(trace.mean - np.trace(exact)) < 3 * trace.error


def test_the_trace_is_that_of_the_draws():
    # v'Hv = tr H + twice the off-diagonal parts: of two weights with H = [[2, 1], [1, 3]] it is 5 + 2 or 5 - 2.
    loss = quadratic(np.float32([[2, 1], [1, 3]]))
    trace = hessian_trace(loss, jnp.ones(2), [np.zeros((5, 2), np.float32)], KEY, draws=200)
    ups = (trace.mean - 3) / 4
    assert 0.35 < ups < 0.65
    np.testing.assert_allclose(trace.error, 4 * np.sqrt(ups * (1 - ups) / 199), rtol=1e-4)
    other = hessian_trace(loss, jnp.ones(2), [np.zeros((5, 2), np.float32)], jax.random.key(1), draws=200)
    assert other != trace


def made(net):
    x = RANDOM.uniform(size=(12, 4, 4, 1)).astype(np.float32)
    params, stats = net.init(KEY, x)
    params, stats = (jax.tree.map(lambda x, by=by: x + by, tree) for tree, by in ((params, 0.1), (stats, 0.3)))
    batches = [{"image": x[:8], "label": np.arange(8) % 3}, {"image": x[8:], "label": np.arange(4) % 3}]
    whole = {name: np.concatenate([b[name] for b in batches]) for name in ("image", "label")}
    return params, stats, batches, whole


def test_a_convolutional_net_has_the_hessian_of_its_evaluation():
    net = normalised(models.conv_net((2, 3), 3), 0.5, 0.3)
    params, stats, batches, whole = made(net)
    flat, unravel = ravel_pytree(params)

    def mean(p):
        logits = net.apply(unravel(p), stats, whole["image"], train=False)[0]["logits"]
        return negative_log_likelihood(logits, whole["label"]).mean()

    exact = np.asarray(jax.jit(jax.jacrev(jax.grad(mean)))(flat), float)
    np.testing.assert_allclose(exact, exact.T, atol=1e-5)
    top = hessian_top(evaluation_loss(net, stats), params, batches, KEY, count=2, tolerance=1e-4)
    np.testing.assert_allclose(top.values, np.linalg.eigvalsh(exact)[::-1][:2], rtol=1e-3)
    trace = hessian_trace(evaluation_loss(net, stats), params, batches, KEY, draws=300)
    assert abs(trace.mean - np.trace(exact)) < 3 * trace.error < 0.5 * np.trace(exact)


def test_a_dense_net_has_the_hessian_of_jax():
    params = {"a": RANDOM.normal(size=(4, 3)).astype(np.float32), "b": RANDOM.normal(size=(3, 2)).astype(np.float32)}

    def loss(params, batch):
        return jnp.sum(jnp.square(jnp.tanh(batch @ params["a"]) @ params["b"] - batch[:, :2]), axis=1)

    flat, unravel = ravel_pytree(params)
    exact = np.asarray(jax.hessian(lambda p: jnp.mean(loss(unravel(p), np.concatenate(ROWS))))(flat), float)
    top = hessian_top(loss, params, ROWS, KEY, tolerance=1e-4)
    np.testing.assert_allclose(top.values, np.linalg.eigvalsh(exact)[-1:], rtol=1e-4)


def test_the_same_key_gives_the_same_numbers():
    loss, p = quadratic(symmetric(np.arange(8))), jnp.ones(8)
    for f in (lambda key: hessian_top(loss, p, ROWS, key, iterations=3).values, lambda key: hessian_trace(loss, p, ROWS, key)):
        assert np.array_equal(f(KEY), f(KEY)) and not np.array_equal(f(KEY), f(jax.random.key(1)))


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (lambda loss: hessian_top(loss, jnp.ones(8), ROWS, KEY, count=9), "count=9 is not accepted: expected 1 to 8"),
        (lambda loss: hessian_top(loss, jnp.ones(8), ROWS, KEY, count=0), "count=0"),
        (lambda loss: hessian_top(loss, jnp.ones(8), ROWS, KEY, count=3, iterations=2), "iterations=2 .* 3 or more"),
        (lambda loss: hessian_top(loss, jnp.ones(8), ROWS, KEY, tolerance=-1.0), "tolerance=-1.0"),
        (lambda loss: hessian_trace(loss, jnp.ones(8), ROWS, KEY, draws=1), "draws=1"),
        (lambda loss: hessian_top(loss, jnp.ones(8), [], KEY), "batches hold no row"),
        (lambda loss: hessian_trace(loss, jnp.ones(8), [], KEY), "batches hold no row"),
        (lambda loss: hessian_top(lambda p, b: jnp.nan * loss(p, b), jnp.ones(8), ROWS, KEY), "NaN or infinity"),
    ],
)
def test_refusals(ask, line):
    with pytest.raises(InputError, match=line) as error:
        ask(quadratic(symmetric(np.arange(8))))
    assert "\n" not in str(error.value)
