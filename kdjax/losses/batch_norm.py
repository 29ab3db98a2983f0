"""Losses that hold images made without data to what a teacher's batch-norm layers remember of its training set.

Each is of one layer, whose *input* they take; `kdjax.core.batch_norms` lists layers and stored statistics, and a method adds the
layers up. No gradient flows into what is stored.
"""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, check_positive, wide
from kdjax.losses._geometry import root


def batch_norm_statistics(
    features: ArrayLike, running_mean: ArrayLike, running_variance: ArrayLike, *, axis_name: AxisName = None
) -> jax.Array:
    """How far a batch's statistics at one batch-norm layer lie from those the teacher stored in training.

        |mean(x) - running_mean|_2 + |var(x) - running_variance|_2

    Plain norms over the channels, not squared; the variance is the biased one.

    Args:
      features: the *input* of the layer `[B, ..., C]`.
      running_mean: `[C]`.
      running_variance: `[C]`.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for other shapes.

    Reference:
      Yin, Molchanov, Li, Alvarez, Mallya, Hoiem, Jha, Kautz, "Dreaming to Distill: Data-free Knowledge Transfer via
      DeepInversion", CVPR 2020, arXiv 1912.08795.

    >>> x = jnp.array([[1.0], [3.0]])  # mean 2, variance 1
    >>> batch_norm_statistics(x, jnp.array([0.0]), jnp.array([4.0]))
    Array(5., dtype=float32)
    """
    sizes = check_shapes("B ... C", features=features)
    check_shapes("C", sizes, running_mean=running_mean, running_variance=running_variance)
    return _apart(_moments(features, axis_name), running_mean, running_variance)


def averaged_batch_norm_statistics(
    features: ArrayLike,
    running_mean: ArrayLike,
    running_variance: ArrayLike,
    average: tuple[ArrayLike, ArrayLike],
    *,
    momentum: ArrayLike,
    axis_name: AxisName = None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """As `batch_norm_statistics`, of a moving average of the statistics of this batch and of earlier ones.

        m = (1 - momentum) mean(x) + momentum average_m,   v likewise;   |m - running_mean|_2 + |v - running_variance|_2

    So a few images a time are held to what the whole data set has, and not each batch to all of it. The gradient flows through
    this batch alone. Where there is no average yet, a momentum of 0 leaves the given one out.

    Args:
      features: the *input* of the layer `[B, ..., C]`.
      running_mean: `[C]`.
      running_variance: `[C]`.
      average: mean and variance `[C]` of earlier batches.
      momentum: a number in [0, 1]; Fast has 0.9, and moves its average once a round, by the last batch.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0, and (m, v), the average for the next batch, without a gradient.

    Raises:
      InputError: for other shapes, or a momentum outside [0, 1].

    Reference:
      Fang, Mo, Wang, Song, Bei, Zhang, Song, "Up to 100x Faster Data-Free Knowledge Distillation", AAAI 2022, arXiv 2112.06253.

    >>> x, average = jnp.array([[1.0], [3.0]]), (jnp.array([6.0]), jnp.array([1.0]))
    >>> value, (mean, variance) = averaged_batch_norm_statistics(x, jnp.zeros(1), jnp.ones(1), average, momentum=0.5)
    >>> value.item(), mean.item(), variance.item()
    (4.0, 4.0, 1.0)
    """
    sizes = check_shapes("B ... C", features=features)
    check_shapes("C", sizes, running_mean=running_mean, running_variance=running_variance)
    check_shapes("C", sizes, mean_of_average=average[0], variance_of_average=average[1])
    check_number("momentum", momentum, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    kept = wide(momentum)
    mean, variance = (
        (1 - kept) * new + jnp.where(kept > 0, kept * lax.stop_gradient(wide(old)), 0.0)
        for new, old in zip(_moments(features, axis_name), average, strict=True)
    )
    value = _apart((mean, variance), running_mean, running_variance)
    return value, (lax.stop_gradient(mean), lax.stop_gradient(variance))


def batch_norm_gaussian(
    features: ArrayLike, mean: ArrayLike, variance: ArrayLike, *, epsilon: ArrayLike = 1e-12, axis_name: AxisName = None
) -> jax.Array:
    """How far a batch is from the teacher's training set at one batch-norm layer, both taken as a Gaussian a channel.

        sum over channels of KL(N(m, v) || N(mean, variance))
          = sum of ((m - mean)^2 + v) / (2 variance) - log(sqrt(v) / sqrt(variance)) - 1/2

    with m and v the mean and the biased variance of the features; `epsilon` is added to both variances.

    Args:
      features: the *input* of the layer `[B, ..., C]`.
      mean: stored by the layer, `[C]`.
      variance: stored by the layer, `[C]`.
      epsilon: a finite number above 0. The default only keeps what is constant finite; 1e-5, which batch norm itself adds, keeps
        channels that hardly vary in the teacher from outweighing all others.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0, in nats.

    Raises:
      InputError: for other shapes, or an epsilon that is not above 0.

    Reference:
      Choi, Choi, El-Khamy, Lee, "Data-Free Network Quantization With Adversarial Knowledge Distillation", CVPR Workshops 2020,
      arXiv 2005.04136.

    >>> x = jnp.array([[1.0], [3.0]])  # mean 2, variance 1
    >>> print(f"{batch_norm_gaussian(x, jnp.array([0.0]), jnp.array([1.0])):.4f}")  # 2^2 / 2
    2.0000
    """
    sizes = check_shapes("B ... C", features=features)
    check_shapes("C", sizes, mean=mean, variance=variance)
    check_positive("epsilon", epsilon)
    m, v = _moments(features, axis_name)
    stored = lax.stop_gradient(wide(variance)) + wide(epsilon)
    ratio = (v + wide(epsilon)) / stored
    shift = (m - lax.stop_gradient(wide(mean))) ** 2 / stored
    return 0.5 * jnp.sum(shift + (ratio - 1) - jnp.log(ratio))


def _moments(features: ArrayLike, axis_name: AxisName) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance `[C]` over all but the last axis of the global batch, in two passes."""
    x = wide(features)
    x = x.reshape(-1, x.shape[-1])
    mean = collectives.pmean(jnp.mean(x, axis=0, keepdims=True), axis_name)
    variance = collectives.pmean(jnp.mean((x - mean) ** 2, axis=0), axis_name)
    return mean.reshape(-1), variance


def _apart(moments: tuple[jax.Array, jax.Array], running_mean: ArrayLike, running_variance: ArrayLike) -> jax.Array:
    stored = lax.stop_gradient((wide(running_mean), wide(running_variance)))
    mean, variance = (root(jnp.sum((m - s) ** 2)) for m, s in zip(moments, stored, strict=True))
    return mean + variance
