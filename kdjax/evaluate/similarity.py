"""How alike two representations of the same rows are, whatever the number and order of their features."""

from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from kdjax.core.check import InputError, check_option


def position_mean(x: jax.Array) -> jax.Array:
    """Maps or tokens `[N, ..., C]` averaged over their positions to `[N, C]`, in float32 or wider; vectors stay as they are.

    >>> position_mean(jnp.arange(8.0).reshape(1, 2, 2, 2)).tolist()
    [[3.0, 4.0]]
    """
    return jnp.mean(_wide(x), axis=tuple(range(1, x.ndim - 1)))


def similarities(rows: Sequence[jax.Array], columns: Sequence[jax.Array], measure: Callable) -> np.ndarray:
    """The matrix `measure(rows[i], columns[j])`, such as that of the layers of a student and of its teacher.

    Args:
      rows: features of each layer, `[N, C_i]`, of the same N examples in the same order.
      columns: likewise, `[N, C_j]`.
      measure: `linear_cka`, `rbf_cka`, `r2_cca` or another function of two such arrays.

    Returns:
      float64 `[len(rows), len(columns)]`.

    >>> layers = [jnp.array([[1.0], [2.0], [4.0]]), jnp.array([[1.0], [0.0], [1.0]])]
    >>> similarities(layers, layers, linear_cka).round(3).tolist()
    [[1.0, 0.036], [0.036, 1.0]]
    """
    return np.array([[measure(x, y) for y in columns] for x in rows], np.float64)


def linear_cka(x: jax.Array, y: jax.Array) -> jax.Array:
    """Linear centred kernel alignment: |Y' X|^2 / (|X' X| |Y' Y|), of centred columns, with Frobenius norms.

    Rotations and reflections of the features, a common factor and a shift change nothing.

    Args:
      x: features `[N, C]`.
      y: features of the same rows, `[N, D]`.

    Returns:
      A scalar between 0 and 1, float32 or wider; 0 where all rows of one side are equal.

    Raises:
      InputError: for other shapes, or fewer than two rows.

    Reference:
      Simon Kornblith, Mohammad Norouzi, Honglak Lee, Geoffrey Hinton, "Similarity of Neural Network Representations
      Revisited", ICML 2019, arXiv:1905.00414.

    >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    >>> print(linear_cka(x, -2 * x[:, ::-1]).round(4))
    1.0
    """
    x, y = _pair(x, y)
    return _ratio(_squares(_dot(y.T, x)), jnp.sqrt(_squares(_dot(x.T, x)) * _squares(_dot(y.T, y))))


def minibatch_linear_cka(pairs: Iterable[tuple[jax.Array, jax.Array]]) -> jax.Array:
    """Linear CKA of sets that do not fit in memory, from their batches.

    The mean over batches of HSIC_1(X X', Y Y'), divided by the root of the product of those of (X X', X X') and
    (Y Y', Y Y'). HSIC_1 is unbiased, so that batches of any size estimate the same number:

        HSIC_1(K, L) = [tr(K L) + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K L 1] / (n (n - 3)),

    with the diagonals of K and L set to 0. `linear_cka` is biased: it is the larger, the fewer rows there are.

    Args:
      pairs: features of one batch each, `(x [n, C], y [n, D])`, n at least 4, the same in all but perhaps the last.

    Returns:
      A scalar of at most about 1, float32 or wider; by chance it may be below 0.

    Raises:
      InputError: for other shapes, fewer than four rows, or no batch.

    Reference:
      Thao Nguyen, Maithra Raghu, Simon Kornblith, "Do Wide and Deep Networks Learn the Same Things? Uncovering How Neural
      Network Representations Vary with Width and Depth", ICLR 2021, arXiv:2010.15327; HSIC_1 of Le Song and others,
      "Feature Selection via Dependence Maximization", JMLR 13, 2012.

    >>> x = jax.random.normal(jax.random.key(0), (3, 8, 2))
    >>> print(minibatch_linear_cka((batch, 5 - batch) for batch in x).round(4))
    1.0
    """
    sums = [_unbiased(*_checked(x, y, 4)) for x, y in pairs]
    check_option("pairs", len(sums), lambda n: n >= 1, "1 batch or more")
    xy, xx, yy = jnp.mean(jnp.stack(sums), axis=0)
    return _ratio(xy, jnp.sqrt(jnp.maximum(xx * yy, 0.0)))


def rbf_cka(x: jax.Array, y: jax.Array, *, fraction: float = 0.5) -> jax.Array:
    """Centred kernel alignment with Gaussian kernels: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)).

    K = exp(-d^2 / (2 sigma^2)) of the Euclidean distances d of the rows, with sigma = `fraction` of their median over
    pairs; HSIC(K, L) = tr(H K H L), H centres rows and columns. Invariant as `linear_cka`.

    Args:
      x: features `[N, C]`; the memory needed is N^2 numbers, so give a sample of a large set.
      y: features of the same rows, `[N, D]`.
      fraction: of the median distance, above 0; the smaller, the more only near neighbours count.

    Returns:
      A scalar between 0 and 1, float32 or wider; 0 where all rows of one side are equal.

    Raises:
      InputError: for other shapes, fewer than two rows, or a bad fraction.

    Reference:
      Kornblith and others, as in `linear_cka`.

    >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    >>> print(rbf_cka(x, -2 * x[:, ::-1]).round(4))
    1.0
    """
    check_option("fraction", fraction, lambda f: f > 0, "a number above 0")
    k, l = (_centred_kernel(z, fraction) for z in _pair(x, y))
    return _ratio(jnp.sum(k * l), jnp.sqrt(_squares(k) * _squares(l)))


def r2_cca(x: jax.Array, y: jax.Array, *, tolerance: float = 1e-5) -> jax.Array:
    """The mean squared canonical correlation: how much of x a linear map of y explains, |Q_y' Q_x|^2 / rank(x).

    Q is an orthonormal basis of the span of the centred columns. The mean is over the directions of the first argument, so
    the order counts. Any invertible linear map of either side changes nothing.

    Args:
      x: features `[N, C]`, N well above C and D: with as many features as rows anything is explained.
      y: features of the same rows, `[N, D]`.
      tolerance: directions with a singular value below this part of the largest count as absent: those of dead channels, and
        of channels that are sums of others.

    Returns:
      A scalar between 0 and 1, float32 or wider; 0 where all rows of one side are equal.

    Raises:
      InputError: for other shapes, not more rows than features, or a bad tolerance.

    Reference:
      Kornblith and others, as in `linear_cka` (there C in the place of the rank, which is the same without dead channels).

    >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 1.0]])
    >>> print(r2_cca(x[:, :1], x).round(4))
    1.0
    >>> print(r2_cca(x, x[:, :1]).round(4))  # one of the two directions
    0.5
    """
    check_option("tolerance", tolerance, lambda t: 0 < t < 1, "a number above 0 and below 1")
    x, y = _pair(x, y)
    rows, most = x.shape[0], max(x.shape[1], y.shape[1])
    check_option("rows", rows, lambda n: n > most, f"more than {most}, the features")
    (q_x, rank), (q_y, _) = _basis(x, tolerance), _basis(y, tolerance)
    return _ratio(_squares(_dot(q_y.T, q_x)), rank)


def _pair(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both sides centred, and divided by their largest number, which no measure of a whole set notices."""
    x, y = _checked(x, y, 2)
    return x / _size(x), y / _size(y)


def _size(x: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(x.dtype).tiny)


def _checked(x: jax.Array, y: jax.Array, least: int) -> tuple[jax.Array, jax.Array]:
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < least:
        raise InputError(f"features have shapes {x.shape} and {y.shape}: expected [N, C] and [N, D], N at least {least}")
    return _centred(_wide(x)), _centred(_wide(y))


def _centred(x: jax.Array) -> jax.Array:
    x = x - x[:1]  # a channel that never changes is now exactly 0, not what rounding leaves of it
    return x - jnp.mean(x, axis=0, keepdims=True)


def _centred_kernel(x: jax.Array, fraction: float) -> jax.Array:
    squares = jnp.sum(jnp.square(x), axis=1)
    squared = jnp.maximum(squares[:, None] + squares[None, :] - 2 * _dot(x, x.T), 0.0)
    pairs = jnp.where(jnp.eye(len(x), dtype=bool), jnp.nan, jnp.sqrt(squared))
    width = fraction * jnp.nanmedian(pairs)
    k = jnp.exp(-squared / jnp.where(width > 0, 2 * jnp.square(width), 1.0))
    return k - jnp.mean(k, 0, keepdims=True) - jnp.mean(k, 1, keepdims=True) + jnp.mean(k)


def _unbiased(x: jax.Array, y: jax.Array) -> jax.Array:
    """HSIC_1 of one batch: `[(x, y), (x, x), (y, y)]`."""
    n = len(x)
    k, l = (_dot(z, z.T) * (1 - jnp.eye(n, dtype=z.dtype)) for z in (x, y))

    def hsic(k, l):
        a, b = jnp.sum(k, 0), jnp.sum(l, 0)
        return jnp.sum(k * l) + jnp.sum(a) * jnp.sum(b) / ((n - 1) * (n - 2)) - 2 / (n - 2) * jnp.sum(a * b)

    return jnp.stack([hsic(k, l), hsic(k, k), hsic(l, l)]) / (n * (n - 3))


def _basis(x: jax.Array, tolerance: float) -> tuple[jax.Array, jax.Array]:
    """An orthonormal basis `[N, C]` of the columns, zeros in the place of directions that are absent, and the rank."""
    q, s, _ = jnp.linalg.svd(x, full_matrices=False)
    there = s > tolerance * s[:1]
    return q * there[None], jnp.sum(there.astype(x.dtype))


def _ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)


def _squares(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x))


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    # The short floats that accelerators prefer would blur small differences.
    return jnp.matmul(x, y, precision=Precision.HIGHEST)


def _wide(x: jax.Array) -> jax.Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
