"""Whether representations have collapsed: numbers of features alone, without labels.

Arrays of other shapes raise `InputError`.
"""

import jax
import jax.numpy as jnp

from kdjax.core.check import check_option
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit


def rank_me(features: jax.Array, *, epsilon: float = 1e-7) -> jax.Array:
    """RankMe: a smooth rank of the feature matrix, the exponential of the entropy of its singular values.

    exp(-sum p log p) with p = s / sum(s) + epsilon, s the singular values of the features as they are (not centred).

    Args:
      features: `[N, D]`; N well above D makes it a property of the net, not of the sample.
      epsilon: added to every p.

    Returns:
      A scalar, between 1 and min(N, D) up to `epsilon`.

    Reference:
      Quentin Garrido, Randall Balestriero, Laurent Najman, Yann LeCun, "RankMe: Assessing the Downstream Performance of
      Pretrained Self-Supervised Representations by Their Rank", ICML 2023, arXiv:2210.02885.

    >>> round(float(rank_me(jnp.eye(4))), 3)
    4.0
    """
    check_shapes("N D", features=features)
    p = _shares(jnp.linalg.svd(features.astype(jnp.float32), compute_uv=False)) + epsilon
    return jnp.exp(-jnp.sum(p * jnp.log(p)))


def effective_rank(features: jax.Array) -> jax.Array:
    """The effective rank of the covariance: exp of the entropy of its eigenvalues, divided by their sum.

    Unlike in `rank_me` the rows are centred, and directions count by their variance (the squares).

    Args:
      features: `[N, D]`.

    Returns:
      A scalar between 1 and min(N - 1, D); 1 where all rows are equal.

    Reference:
      Olivier Roy, Martin Vetterli, "The effective rank: A measure of effective dimensionality", EUSIPCO 2007 (there
      with singular values).

    >>> round(float(effective_rank(jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))), 3)
    2.0
    """
    check_shapes("N D", features=features)
    x = features.astype(jnp.float32)
    x = x - jnp.mean(x, axis=0, keepdims=True)
    # Singular values of the centred rows: the square root of the eigenvalues, at twice the precision.
    p = _shares(jnp.square(jnp.linalg.svd(x / jnp.maximum(jnp.max(jnp.abs(x)), 1e-30), compute_uv=False)))
    return jnp.exp(jnp.sum(jax.scipy.special.entr(p)))


def feature_std(features: jax.Array) -> jax.Array:
    """The standard deviation of normalised features, over the rows, averaged over the dimensions.

    0 means that all rows point the same way; directions spread evenly give 1 / sqrt(D).

    Args:
      features: `[N, D]`, normalised to length 1 inside.

    Returns:
      A scalar.

    Reference:
      Xinlei Chen, Kaiming He, "Exploring Simple Siamese Representation Learning", CVPR 2021, arXiv:2011.10566.

    >>> float(feature_std(jnp.ones((3, 4))))
    0.0
    """
    check_shapes("N D", features=features)
    return jnp.mean(jnp.std(_unit(features), axis=0))


def feature_spread(features: jax.Array) -> jax.Array:
    """`feature_std` in units of 1 / sqrt(D), so that features of all widths compare.

    0 means that all rows point the same way; directions spread evenly give 1, those of features that are never negative less.

    Args:
      features: `[N, D]`, normalised to length 1 inside.

    Returns:
      A scalar.

    Reference:
      Xinlei Chen, Kaiming He, as in `feature_std`.

    >>> round(float(feature_spread(jnp.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]))), 3)
    1.0
    """
    return feature_std(features) * features.shape[-1] ** 0.5


def alignment(first: jax.Array, second: jax.Array) -> jax.Array:
    """The mean squared distance of the normalised features of two views: mean |z1 - z2|^2, between 0 and 4.

    Args:
      first: features of one view, `[N, D]`.
      second: features of the other, `[N, D]`, row by row.

    Returns:
      A scalar; the smaller, the closer the views.

    Reference:
      Tongzhou Wang, Phillip Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity
      on the Hypersphere", ICML 2020, arXiv:2005.10242.

    >>> float(alignment(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 5.0]])))
    2.0
    """
    check_shapes("N D", first=first, second=second)
    return jnp.mean(jnp.sum(jnp.square(_unit(first) - _unit(second)), axis=-1))


def uniformity(features: jax.Array) -> jax.Array:
    """How evenly normalised features cover the sphere: log mean exp(-2 |zi - zj|^2), pairs of different rows.

    Args:
      features: `[N, D]`, N at least 2; the memory needed is N^2 numbers, so give a sample of a large set.

    Returns:
      A scalar, between -8 and 0; 0 means that all rows point the same way.

    Raises:
      InputError: when there are fewer than two rows.

    Reference:
      Tongzhou Wang, Phillip Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity
      on the Hypersphere", ICML 2020, arXiv:2005.10242.

    >>> float(uniformity(jnp.array([[1.0, 0.0], [-2.0, 0.0]])))
    -8.0
    """
    check_shapes("N D", features=features)
    rows = features.shape[0]
    check_option("rows", rows, lambda n: n >= 2, "2 or more")
    z = _unit(features)
    # |zi - zj|^2 = 2 - 2 zi . zj on the sphere.
    exponents = 4 * jnp.matmul(z, z.T, precision=jax.lax.Precision.HIGHEST) - 4
    pairs = jnp.where(jnp.eye(rows, dtype=bool), -jnp.inf, exponents)
    return jax.nn.logsumexp(pairs) - jnp.log(rows * (rows - 1.0))


def _shares(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.sum(x), jnp.finfo(jnp.float32).tiny)


def _unit(x: jax.Array) -> jax.Array:
    return unit(x.astype(jnp.float32))
