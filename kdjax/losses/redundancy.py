"""Losses of self-supervised learning by statistics of the batch: views agree, dimensions vary and do not repeat one another.

There are no negatives and no slow network, and the gradient flows through both views. Embeddings are not normalised row by row;
what is taken of their columns is the batch's. Statistics are of the global batch: each device adds up its own rows.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError, check_rows
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_flag, check_number, check_positive, wide
from kdjax.losses._geometry import beyond_rounding, off_diagonal, products, root

_OF_VARIANCE = 1e-5  # beside a column's variance, that of the authors' batch norm
_SHORT = 1e-12  # a column's length is at least this, as in the peers' normalisation


def barlow_twins(z1: ArrayLike, z2: ArrayLike, *, weight: ArrayLike = 0.0051, axis_name: AxisName = None) -> jax.Array:
    """How far the correlations of one view's dimensions with the other's are from the identity.

        sum_i (C_ii - 1)^2 + weight sum_{i != j} C_ij^2,   C = n(z1)' n(z2) / B

    n takes from each column its mean over the batch and divides by `sqrt(variance + 1e-5)`, with the biased variance: the batch
    norm without weights that follows the authors' projector.

    Args:
      z1: the projector's outputs `[B, D]` of one view.
      z2: `[B, D]`, of the other view.
      weight: of what is off the diagonal, at least 0; 0.0051 with the paper's D of 8192. For a small D about 1 / D.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0; D where one view is constant.

    Raises:
      InputError: for other or unequal shapes, a global batch of one row, or a negative weight.

    Reference:
      Zbontar, Jing, Misra, LeCun, Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021,
      arXiv 2103.03230. The benchmarks multiply the whole by 0.025 or 0.1, an early release by 1/32: such a factor is left to
      the method.

    >>> z = jnp.array([[1.0, 1.0], [-1.0, -1.0]])  # two dimensions that say the same
    >>> print(f"{barlow_twins(z, z, weight=0.5):.3f}")
    1.000
    """
    check_shapes("B D", z1=z1, z2=z2)
    _check_weights(weight=weight)
    rows = _global_rows("barlow_twins", z1, axis_name)
    a, b = (_standardised(wide(z), axis_name) for z in (z1, z2))
    correlations = products(a, b, axis_name) / rows
    own = jnp.diagonal(correlations)
    return jnp.sum((own - 1) ** 2) + wide(weight) * jnp.sum(off_diagonal(correlations, None) ** 2)


def vicreg(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    invariance: ArrayLike = 25.0,
    variance: ArrayLike = 25.0,
    covariance: ArrayLike = 1.0,
    epsilon: ArrayLike = 1e-4,
    halve_variance: bool = True,
    axis_name: AxisName = None,
) -> jax.Array:
    """Views agree, every dimension keeps a standard deviation of 1 or more, and no two dimensions vary together.

        invariance mean (z1 - z2)^2 + variance (v(z1) + v(z2)) / 2 + covariance (c(z1) + c(z2))
        v(z) = mean over d of max(0, 1 - sqrt(var_d + epsilon)),   c(z) = sum_{i != j} Cov(z)_ij^2 / D

    The first mean is over rows and dimensions; variances and covariances are the unbiased ones, divided by B - 1.

    Args:
      z1: the expander's outputs `[B, D]` of one view.
      z2: `[B, D]`, of the other view.
      invariance: weight of the distance of the views, at least 0.
      variance: weight of the hinge, at least 0.
      covariance: weight of what is off the diagonal, at least 0.
      epsilon: beside the variance under the root, above 0.
      halve_variance: True is the authors' code; False adds v(z1) + v(z2) whole, as the benchmarks do.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for other or unequal shapes, a global batch of one row, a negative weight, an epsilon that is not above 0, or
        a `halve_variance` that is no flag.

    Reference:
      Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", ICLR 2022,
      arXiv 2105.04906. The paper sums the distance over dimensions; the code's mean, followed here, is what 25 belongs to.

    >>> z = jnp.zeros((2, 3))  # all rows alike: v = 1 - 0.01
    >>> print(f"{vicreg(z, z):.2f}")
    24.75
    """
    check_shapes("B D", z1=z1, z2=z2)
    _check_weights(invariance=invariance, variance=variance, covariance=covariance)
    check_positive("epsilon", epsilon)
    check_flag("halve_variance", halve_variance)
    rows = _global_rows("vicreg", z1, axis_name)
    centred = [_centred(wide(z), axis_name) for z in (z1, z2)]
    hinges = sum(_hinge(z, rows, epsilon, axis_name) for z in centred)
    shared = sum(jnp.sum(off_diagonal(products(z, z, axis_name) / (rows - 1), None) ** 2) / z.shape[1] for z in centred)
    half = 0.5 if halve_variance else 1.0
    apart = _apart(z1, z2, axis_name)
    return wide(invariance) * apart + wide(variance) * (half * hinges) + wide(covariance) * shared


def vibcreg(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    invariance: ArrayLike = 25.0,
    variance: ArrayLike = 25.0,
    covariance: ArrayLike = 200.0,
    epsilon: ArrayLike = 1e-4,
    axis_name: AxisName = None,
) -> jax.Array:
    """`vicreg` with correlations in place of covariances, so that the last term does not depend on the scale of a dimension.

        invariance mean (z1 - z2)^2 + variance (v(z1) + v(z2)) + covariance (c(z1) + c(z2))
        v(z) = mean over d of max(0, 1 - sqrt(var_d + epsilon)),   c(z) = sum_{i != j} R(z)_ij^2 / D^2

    The first mean is over rows and dimensions, the variance the unbiased one. R holds the products of the columns of z without
    their means and scaled to length 1; a column that does not vary (by more than rounding) has products 0 and gradient 0 there.
    The method's projector ends in an iterative normalisation, which is not part of the loss.

    Args:
      z1: the projector's outputs `[B, D]` of one view.
      z2: `[B, D]`, of the other view.
      invariance: weight of the distance of the views, at least 0.
      variance: weight of the hinge, at least 0.
      covariance: weight of what is off the diagonal, at least 0.
      epsilon: beside the variance under the root, above 0.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for other or unequal shapes, a global batch of one row, a negative weight, or an epsilon that is not above 0.

    Reference:
      Lee, Aune, "VIbCReg: Variance-Invariance-better-Covariance Regularization for Self-Supervised Learning on Time Series",
      arXiv 2109.00783. The default weights are the benchmarks'.

    >>> z = jnp.array([[3.0, 5.0], [-3.0, -5.0]])  # two dimensions that say the same: R is 1 everywhere
    >>> print(f"{vibcreg(z, z):.1f}")
    200.0
    """
    check_shapes("B D", z1=z1, z2=z2)
    _check_weights(invariance=invariance, variance=variance, covariance=covariance)
    check_positive("epsilon", epsilon)
    rows = _global_rows("vibcreg", z1, axis_name)
    hinges, shared = 0.0, 0.0
    for z in (wide(z1), wide(z2)):
        hinges += _hinge(_centred(z, axis_name), rows, epsilon, axis_name)
        columns = _columns(z, axis_name)
        shared += jnp.mean(off_diagonal(products(columns, columns, axis_name), None) ** 2)
    return wide(invariance) * _apart(z1, z2, axis_name) + wide(variance) * hinges + wide(covariance) * shared


def whiten(z: ArrayLike, *, shrinkage: ArrayLike = 0.0, axis_name: AxisName = None) -> jax.Array:
    """Embeddings whose dimensions have variance 1 over the batch and no correlation.

        w = (z - mean) L'^-1,   L L' = (1 - shrinkage) Cov(z) + shrinkage I,   L lower triangular

    Cov is the unbiased covariance, divided by B - 1, and the gradient flows through it. In float32 this is good to about the
    condition of Cov times 1e-7; rows that span fewer than D dimensions (a collapsed network) give noise or NaN: a shrinkage of
    1e-3 keeps them finite. The method whitens each view in random parts of the batch, of 2 D rows each, the same rows for all
    views: `jax.vmap` this over them.

    Args:
      z: the head's outputs `[B, D]`, with more rows than dimensions.
      shrinkage: in [0, 1].
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[B, D]`, float32 or wider, of this device's rows.

    Raises:
      InputError: for another shape, a global batch that has no more rows than dimensions, or a shrinkage outside [0, 1].

    Reference:
      Ermolov, Siarohin, Sangineto, Sebe, "Whitening for Self-Supervised Representation Learning", ICML 2021, arXiv 2007.06346.

    >>> whiten(jnp.array([[1.0], [3.0], [5.0]]))[:, 0].tolist()
    [-1.0, 0.0, 1.0]
    """
    check_shapes("B D", z=z)
    check_number("shrinkage", shrinkage, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    width = np.shape(z)[1]
    rows = _global_rows("whiten", z, axis_name)
    if rows <= width:
        raise InputError(
            f"whiten is given {rows} rows of {width} dimensions on all devices together: expected more rows than dimensions"
        )
    centred, s = _centred(wide(z), axis_name), wide(shrinkage)
    covariance = (1 - s) * products(centred, centred, axis_name) / (rows - 1) + s * jnp.eye(width, dtype=centred.dtype)
    lower = lax.linalg.cholesky(covariance)
    return lax.linalg.triangular_solve(lower, centred, lower=True, transpose_a=True)


def w_mse(white1: ArrayLike, white2: ArrayLike) -> jax.Array:
    """The squared distance of two directions, `2 - 2 cos`: of whitened views, which cannot all be alike.

    Inputs are normalised here; a row of zeros stays zero (1 away from any direction) and has gradient 0. The
    gradient flows through both views.

    Args:
      white1: one view `[B, D]` from `whiten`.
      white2: the other view `[B, D]`.

    Returns:
      `[B]`, in [0, 4]. The method has its mean over the batch and over pairs of views.

    Raises:
      InputError: for other or unequal shapes.

    Reference:
      Ermolov, Siarohin, Sangineto, Sebe, "Whitening for Self-Supervised Representation Learning", ICML 2021, arXiv 2007.06346.
      The benchmarks stop the gradient at the second view and add the same direction twice.

    >>> w_mse(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 3.0]]))
    Array([2.], dtype=float32)
    """
    check_shapes("B D", white1=white1, white2=white2)
    a, b = unit(wide(white1)), unit(wide(white2))
    return jnp.sum((a - b) ** 2, axis=1)


def _check_weights(**weights: ArrayLike) -> None:
    for name, weight in weights.items():
        check_number(name, weight, lambda v: 0 <= v < math.inf, "a finite number, at least 0")


def _global_rows(loss: str, z: ArrayLike, axis_name: AxisName) -> int:
    rows = np.shape(z)[0]
    check_rows(rows, axis_name, loss)
    return rows if axis_name is None else rows * lax.axis_size(axis_name)


def _mean(z: jax.Array, axis_name: AxisName) -> jax.Array:
    return collectives.pmean(jnp.mean(z, axis=0, keepdims=True), axis_name)


def _total(z: jax.Array, axis_name: AxisName) -> jax.Array:
    return collectives.psum(jnp.sum(z, axis=0, keepdims=True), axis_name)


def _centred(z: jax.Array, axis_name: AxisName) -> jax.Array:
    # Twice: where a column hardly varies, the rounding of its mean would be all that is left of it.
    near = z - lax.stop_gradient(_mean(z, axis_name))
    return near - _mean(near, axis_name)


def _standardised(z: jax.Array, axis_name: AxisName) -> jax.Array:
    z = _centred(z, axis_name)
    return z * lax.rsqrt(_mean(z**2, axis_name) + _OF_VARIANCE)


def _columns(z: jax.Array, axis_name: AxisName) -> jax.Array:
    """The columns without their means, of length 1; zeros for one that does not vary."""
    centred = _centred(z, axis_name)
    varies = beyond_rounding(_mean(centred**2, axis_name), lax.stop_gradient(_mean(z, axis_name)))
    centred = jnp.where(varies, centred, 0.0)
    return centred / jnp.maximum(root(_total(centred**2, axis_name)), _SHORT)


def _apart(z1: ArrayLike, z2: ArrayLike, axis_name: AxisName) -> jax.Array:
    return collectives.mean((wide(z1) - wide(z2)) ** 2, axis_name=axis_name)


def _hinge(centred: jax.Array, rows: int, epsilon: ArrayLike, axis_name: AxisName) -> jax.Array:
    deviation = jnp.sqrt(_total(centred**2, axis_name) / (rows - 1) + wide(epsilon))
    return jnp.mean(jax.nn.relu(1 - deviation))
