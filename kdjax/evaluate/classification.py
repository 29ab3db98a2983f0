"""How good class scores are: accuracy, likelihood, calibration.

Arrays of other shapes raise `InputError`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.core.check import check_option
from kdjax.core.collectives import mean
from kdjax.core.shapes import check_shapes


def top_k(logits: jax.Array, labels: jax.Array, *, k: int = 1) -> jax.Array:
    """Whether the label is among the k highest scores.

    Of equal scores the lower class number counts as the higher. A row that holds a NaN is wrong, as is a row without a
    label (-1).

    Args:
      logits: scores `[B, C]`.
      labels: integers `[B]`.
      k: how many classes may be named, 1 to C.

    Returns:
      1.0 or 0.0, `[B]`.

    Raises:
      InputError: when `k` is out of range.

    >>> top_k(jnp.array([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]]), jnp.array([1, 2])).tolist()
    [1.0, 0.0]
    """
    _check(logits, labels)
    classes = logits.shape[-1]
    check_option("k", k, lambda n: 1 <= n <= classes, f"1 to {classes}, the number of classes")
    _, named = jax.lax.top_k(logits, k)
    hit = jnp.any(named == labels[:, None], axis=-1) & ~jnp.any(jnp.isnan(logits), axis=-1)
    return hit.astype(jnp.float32)


def negative_log_likelihood(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The negative logarithm of the probability given to the label: -log softmax(logits)[label].

    Args:
      logits: `[B, C]`.
      labels: integers `[B]`, 0 to C - 1.

    Returns:
      Nats, `[B]`, float32; NaN for a row without a label (-1).

    >>> print(negative_log_likelihood(jnp.zeros((1, 2)), jnp.array([0])))
    [0.6931472]
    """
    _check(logits, labels)
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return _known(-jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0], labels)


def brier(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The Brier score of softmax(logits): the sum over classes of (p - onehot)^2, between 0 and 2.

    Args:
      logits: `[B, C]`.
      labels: integers `[B]`, 0 to C - 1.

    Returns:
      `[B]`, float32; NaN for a row without a label (-1).

    Reference:
      Glenn W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.

    >>> brier(jnp.zeros((1, 2)), jnp.array([0])).tolist()
    [0.5]
    """
    _check(logits, labels)
    p = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    return _known(jnp.sum(jnp.square(p - jax.nn.one_hot(labels, logits.shape[-1])), axis=-1), labels)


def expected_calibration_error(
    logits: jax.Array,
    labels: jax.Array,
    *,
    bins: int = 15,
    where: jax.Array | None = None,
    probabilities: bool = False,
) -> jax.Array:
    """The expected calibration error: how far confidence lies from accuracy, on average over bins of confidence.

    ECE = sum over bins of (n_b / n) |accuracy_b - confidence_b|, where bin b of M holds the rows whose highest
    probability lies in ((b - 1) / M, b / M].

    Args:
      logits: `[N, C]`, all rows at once: the error of a set is not the mean of its batches' errors.
      labels: integers `[N]`.
      bins: the number M of bins of equal width.
      where: mask `[N]`; False leaves a row out.
      probabilities: whether `logits` hold probabilities already.

    Returns:
      A scalar between 0 and 1; 0 where nothing is left.

    Raises:
      InputError: when `bins` is below 1.

    Reference:
      Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
      arXiv:1706.04599.

    >>> p = jnp.array([[0.75, 0.25], [0.75, 0.25]])
    >>> float(expected_calibration_error(p, jnp.array([0, 1]), probabilities=True))
    0.25
    """
    _check(logits, labels)
    check_option("bins", bins, lambda n: n >= 1, "1 or more")
    p = logits.astype(jnp.float32)
    p = p if probabilities else jax.nn.softmax(p, axis=-1)
    confidence, correct = jnp.max(p, axis=-1), top_k(p, labels)
    member = _bins(confidence, bins)
    # n_b |accuracy_b - confidence_b| / n is the absolute mean over all rows of the gap inside the bin.
    gap = member * (correct - confidence)[:, None]
    return jnp.sum(jnp.abs(jax.vmap(mean, (1, None))(gap, where)))


class Reliability(NamedTuple):
    """The bars of a reliability diagram, `[bins]` each.

    Attributes:
      share: the part of all rows that lies in a bin.
      confidence: the mean of their highest probability; 0 in an empty bin.
      accuracy: the part of them that is right; 0 in an empty bin.
    """

    share: jax.Array
    confidence: jax.Array
    accuracy: jax.Array


def reliability(logits: jax.Array, labels: jax.Array, *, bins: int = 15) -> Reliability:
    """Confidence and accuracy by bins of confidence, those of `expected_calibration_error`.

    The error is the sum of share |accuracy - confidence|.

    Args:
      logits: `[N, C]`, all rows at once.
      labels: integers `[N]`.
      bins: the number of bins of equal width.

    Returns:
      `(share, confidence, accuracy)`, float32 `[bins]`.

    Raises:
      InputError: when `bins` is below 1.

    Reference:
      Guo and others, as in `expected_calibration_error`.

    >>> reliability(jnp.zeros((4, 2)), jnp.array([0, 0, 0, 1]), bins=4).accuracy.tolist()
    [0.0, 0.75, 0.0, 0.0]
    """
    _check(logits, labels)
    check_option("bins", bins, lambda n: n >= 1, "1 or more")
    confidence = jnp.max(jax.nn.softmax(logits.astype(jnp.float32), axis=-1), axis=-1)
    member = _bins(confidence, bins)
    count = jnp.sum(member, axis=0)
    by_bin = [jnp.sum(member * x[:, None], axis=0) / jnp.maximum(count, 1) for x in (confidence, top_k(logits, labels))]
    return Reliability(count / len(labels), *by_bin)


def _bins(confidence: jax.Array, bins: int) -> jax.Array:
    """Which bin each row lies in, one-hot `[N, bins]`."""
    edges = jnp.arange(1, bins, dtype=jnp.float32) / bins
    return jax.nn.one_hot(jnp.searchsorted(edges, confidence, side="left"), bins)


def _known(values: jax.Array, labels: jax.Array) -> jax.Array:
    # An index of -1 would silently mean the last class.
    return jnp.where(labels < 0, jnp.nan, values)


def _check(logits: jax.Array, labels: jax.Array) -> None:
    check_shapes("B", check_shapes("B C", logits=logits), labels=labels)
