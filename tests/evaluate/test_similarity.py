from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from kdjax.core.check import InputError
from kdjax.evaluate import linear_cka, minibatch_linear_cka, position_mean, r2_cca, rbf_cka, similarities

RANDOM = np.random.default_rng(0)
HIDDEN = RANDOM.normal(size=(40, 4))
X = (HIDDEN @ RANDOM.normal(size=(4, 6)) + 0.5 * RANDOM.normal(size=(40, 6)) + 3).astype(np.float32)
Y = (HIDDEN @ RANDOM.normal(size=(4, 3)) + 0.5 * RANDOM.normal(size=(40, 3)) - 1).astype(np.float32)
MEASURES = [linear_cka, rbf_cka, r2_cca, lambda x, y: minibatch_linear_cka([(x, y)])]
NAMES = ["linear", "rbf", "r2", "minibatch"]
each = pytest.mark.parametrize("measure", MEASURES, ids=NAMES)


def centring(n):
    return np.eye(n) - 1 / n


def alignment(k, l):
    h = centring(len(k))
    hsic = lambda a, b: np.trace(h @ a @ h @ b)  # noqa: E731
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def gaussian(x, fraction):
    d = squareform(pdist(x.astype(float)))
    return np.exp(-(d**2) / (2 * (fraction * np.median(pdist(x.astype(float)))) ** 2))


def rotation(n):
    return np.linalg.qr(RANDOM.normal(size=(n, n)))[0].astype(np.float32)


def hsic_1(k, l):
    """As the paper writes it, in matrices."""
    n, one = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ l) + middle - 2 / (n - 2) * one @ k @ l @ one) / (n * (n - 3))


def test_linear_cka_equals_numpy():
    x, y = X.astype(float), Y.astype(float)
    np.testing.assert_allclose(linear_cka(X, Y), alignment(x @ x.T, y @ y.T), rtol=1e-5)


@pytest.mark.parametrize("fraction", [0.5, 1.0, 0.2])
def test_rbf_cka_equals_numpy(fraction):
    np.testing.assert_allclose(rbf_cka(X, Y, fraction=fraction), alignment(gaussian(X, fraction), gaussian(Y, fraction)), rtol=1e-5)
    if fraction == 0.5:
        assert rbf_cka(X, Y) == rbf_cka(X, Y, fraction=0.5)


@pytest.mark.parametrize(("x", "y"), [(X, Y), (Y, X)])
def test_r2_cca_is_the_part_of_the_whitened_first_that_the_second_explains(x, y):
    x, y = x - x.mean(0).astype(float), y - y.mean(0).astype(float)
    whitened = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x)).T
    fitted = y @ np.linalg.lstsq(y, whitened, rcond=None)[0]
    np.testing.assert_allclose(r2_cca(jnp.asarray(x), jnp.asarray(y)), (fitted**2).sum() / (whitened**2).sum(), rtol=1e-5)


def test_minibatches_equal_numpy():
    batches = [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 40, 10)]
    xy, xx, yy = np.mean([[hsic_1(a @ a.T, b @ b.T) for a, b in ((x, y), (x, x), (y, y))] for x, y in doubles(batches)], 0)
    np.testing.assert_allclose(minibatch_linear_cka(batches), xy / np.sqrt(xx * yy), rtol=1e-5)


def doubles(pairs):
    return [(x.astype(float), y.astype(float)) for x, y in pairs]


def test_minibatches_are_unbiased():
    # Over all batches of four rows HSIC_1 has exactly the value of the whole set.
    rows = [list(four) for four in combinations(range(8), 4)]
    ours = minibatch_linear_cka((X[four], Y[four]) for four in rows)
    np.testing.assert_allclose(ours, minibatch_linear_cka([(X[:8], Y[:8])]), rtol=1e-5)


@each
def test_itself_is_1(measure):
    np.testing.assert_allclose(measure(X, X), 1.0, rtol=1e-5)


@each
def test_rotation_scale_shift_and_order_of_the_rows_change_nothing(measure):
    expected = measure(X, Y)
    assert 0.1 < expected < 0.9
    order = RANDOM.permutation(40)
    np.testing.assert_allclose(measure(X @ rotation(6), Y @ rotation(3)), expected, rtol=1e-4)
    np.testing.assert_allclose(measure(1e-6 * X, -1e6 * Y), expected, rtol=1e-4)
    np.testing.assert_allclose(measure(X + 10, Y - 10), expected, rtol=1e-3)
    np.testing.assert_allclose(measure(X[order], Y[order]), expected, rtol=1e-4)
    assert abs(measure(X[order], Y) - expected) > 0.05  # but both sides in the same order


@pytest.mark.parametrize("measure", [MEASURES[0], MEASURES[1], MEASURES[3]], ids=["linear", "rbf", "minibatch"])
def test_alignment_is_symmetric_but_feels_a_linear_map(measure):
    np.testing.assert_allclose(measure(X, Y), measure(Y, X), rtol=1e-5)
    assert abs(measure(X * np.float32([10, 1, 1, 1, 1, 1]), Y) - measure(X, Y)) > 0.01


def test_r2_cca_feels_no_linear_map_but_the_order():
    a, b = (RANDOM.normal(size=(n, n)).astype(np.float32) for n in (6, 3))
    np.testing.assert_allclose(r2_cca(X @ a, Y @ b), r2_cca(X, Y), rtol=1e-4)
    np.testing.assert_allclose(r2_cca(X, Y) * 6, r2_cca(Y, X) * 3, rtol=1e-4)
    np.testing.assert_allclose(r2_cca(X[:, :2], X), 1.0, rtol=1e-5)


def test_r2_cca_ignores_dead_and_repeated_channels():
    more = np.concatenate([X, np.full((40, 2), 0.3, np.float32), X[:, :1] + X[:, 1:2]], 1)
    for y in (Y, np.concatenate([Y, np.full((40, 1), 1e4, np.float32)], 1)):
        np.testing.assert_allclose(r2_cca(more, y), r2_cca(X, Y), rtol=1e-4)
        np.testing.assert_allclose(r2_cca(y, more), r2_cca(Y, X), rtol=1e-4)
    small = X * np.float32([1e-3, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(r2_cca(small, Y), r2_cca(X, Y), rtol=1e-3)
    assert abs(r2_cca(small, Y, tolerance=0.01) - r2_cca(X, Y)) > 0.01


@pytest.mark.parametrize("tolerance", [0.05, 0.1, 0.2, 0.4])
def test_the_tolerance_of_r2_cca_is_a_part_of_the_largest(tolerance):
    many = [np.tile(z, (25, 1)) for z in (X, Y)]  # singular values five times as large
    np.testing.assert_allclose(r2_cca(*many, tolerance=tolerance), r2_cca(X, Y, tolerance=tolerance), rtol=1e-4)


@each
def test_equal_rows_are_like_nothing(measure):
    for same in (np.full((40, 3), 0.1, np.float32), np.zeros((40, 3), np.float32)):
        assert measure(X, same) == 0 and measure(same, X) == 0 and measure(same, same) == 0


@pytest.mark.parametrize("measure", MEASURES[:3], ids=NAMES[:3])
def test_compiled_short_floats_and_extreme_scales(measure):
    np.testing.assert_allclose(measure(1e15 * X, 1e-15 * Y), measure(X, Y), rtol=1e-4)
    np.testing.assert_allclose(jax.jit(measure)(X, Y), measure(X, Y), rtol=1e-5)
    x, y = jnp.asarray(X, jnp.bfloat16), jnp.asarray(Y, jnp.bfloat16)
    found = measure(x, y)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, measure(np.asarray(x, np.float32), np.asarray(y, np.float32)), rtol=1e-5)


def test_matrix_of_layers():
    layers, others = [X, Y, X[:, :2]], [Y, X]
    for measure in (linear_cka, r2_cca):
        found = similarities(layers, others, measure)
        assert found.shape == (3, 2) and found.dtype == np.float64
        for i, x in enumerate(layers):
            np.testing.assert_allclose(found[i], [measure(x, y) for y in others])
    whole = similarities(layers, layers, linear_cka)
    np.testing.assert_allclose(whole, whole.T, rtol=1e-5)
    np.testing.assert_allclose(np.diag(whole), 1.0, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 3), (5, 2, 4, 3)])
def test_positions_are_averaged(shape):
    x = RANDOM.normal(size=shape)
    np.testing.assert_allclose(position_mean(jnp.asarray(x)), x.reshape(5, -1, 3).mean(1), rtol=1e-5, atol=1e-6)
    assert position_mean(jnp.ones(shape, jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (lambda: linear_cka(X, Y[:39]), r"shapes \(40, 6\) and \(39, 3\): expected \[N, C\] and \[N, D\], N at least 2"),
        (lambda: linear_cka(X[None], Y[None]), "expected"),
        (lambda: linear_cka(X[:1], Y[:1]), "at least 2"),
        (lambda: minibatch_linear_cka([(X[:3], Y[:3])]), "at least 4"),
        (lambda: minibatch_linear_cka([]), "pairs=0"),
        (lambda: rbf_cka(X, Y, fraction=0.0), "fraction=0.0"),
        (lambda: r2_cca(X, Y, tolerance=0), "tolerance=0"),
        (lambda: r2_cca(X[:6], Y[:6]), "rows=6 is not accepted: expected more than 6, the features"),
        (lambda: r2_cca(Y[:6], X[:6]), "rows=6"),
        (partial(similarities, [X], [Y[:5]], linear_cka), "expected"),
    ],
)
def test_refusals(ask, line):
    with pytest.raises(InputError, match=line) as error:
        ask()
    assert "\n" not in str(error.value)
