"""Cross-entropies in which easy and hard predictions count differently."""

import math

import jax
import jax.numpy as jnp

from kdjax.core.arrays import ArrayLike
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, wide
from kdjax.losses._labels import at_label, class_mask, class_numbers
from kdjax.losses._positions import counted, shown
from kdjax.losses._softmax import log_except, log_probabilities, times_log


def focal(logits: ArrayLike, labels: ArrayLike, *, gamma: ArrayLike = 2.0, where: ArrayLike | None = None) -> jax.Array:
    """The cross-entropy with less weight on what is predicted well already.

        -(1 - p_y)^gamma log p_y,   p = softmax(logits)

    The gradient flows through the weight.

    Args:
      logits: `[..., K]`.
      labels: class numbers `[...]` (an integer type).
      gamma: at least 0; 0 is the cross-entropy.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats. The row of a class number outside [0, K) is NaN.

    Raises:
      InputError: for other shapes, labels that are not integers, or a negative gamma.

    Reference:
      Lin, Goyal, Girshick, He, Dollár, "Focal Loss for Dense Object Detection", ICCV 2017, arXiv 1708.02002, of classes that
      exclude each other.

    >>> print(f"{focal(jnp.zeros(2), jnp.array(0)):.4f}")  # log 2 / 4
    0.1733
    """
    labels = class_numbers(labels, check_shapes("... K", logits=logits))
    _check_exponents(gamma=gamma)
    logits, labels = shown(where, wide(logits), labels)
    missed = _power(log_except(logits, class_mask(labels, logits.shape[-1])), gamma)
    return counted(-times_log(missed, at_label(log_probabilities(logits), labels)), where)


def cyclical_focal(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    easy: ArrayLike,
    gamma_easy: ArrayLike = 3.0,
    gamma_pos: ArrayLike = 2.0,
    gamma_neg: ArrayLike = 2.0,
    smoothing: ArrayLike = 0.1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """A cross-entropy with smoothed labels whose weights go from what is predicted well to what is not, and back, over a run.

        -sum_k q_k (easy e_k + (1 - easy) h_k) log p_k,   q = (1 - smoothing) label + smoothing / K,   p = softmax(logits)
        of the label:    e = (1 + p)^gamma_easy,   h = (1 - p)^gamma_pos
        of the others:   e = 1,                    h = p^gamma_neg

    The gradient flows through the weights. `easy` follows `core.cyclic`; at `easy=0` and equal gammas this is the focal loss with
    smoothed labels.

    Args:
      logits: `[..., K]`.
      labels: class numbers `[...]` (an integer type).
      easy: from 1 at the ends of training to 0 in its middle.
      gamma_easy: exponent of what is predicted well, at least 0.
      gamma_pos: exponent of what is not, of the label's class, at least 0.
      gamma_neg: that of the other classes, at least 0.
      smoothing: the mass that is spread over all classes, in [0, 1].
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats. The row of a class number outside [0, K) is NaN.

    Raises:
      InputError: for other shapes, labels that are not integers, or options out of range.

    Reference:
      Smith, "Cyclical Focal Loss", 2022, arXiv 2202.08978. That other classes have the weight 1 in the easy part is from the
      authors' code, where it acts through the smoothing.

    >>> print(f"{cyclical_focal(jnp.zeros(2), jnp.array(0), easy=1.0, smoothing=0.0):.4f}")  # 1.5^3 log 2
    2.3394
    """
    labels = class_numbers(labels, check_shapes("... K", logits=logits))
    for name, share in (("easy", easy), ("smoothing", smoothing)):
        check_number(name, share, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    _check_exponents(gamma_easy=gamma_easy, gamma_pos=gamma_pos, gamma_neg=gamma_neg)
    logits, labels = shown(where, wide(logits), labels)
    easy, spread = wide(easy), wide(smoothing)
    classes = logits.shape[-1]
    true, log_p = class_mask(labels, classes), log_probabilities(logits)
    missed = log_except(logits, true)[..., None]
    well = jnp.where(true, (1 + jnp.exp(log_p)) ** wide(gamma_easy), 1.0)
    badly = jnp.where(true, _power(missed, gamma_pos), _power(log_p, gamma_neg))
    weight = (jnp.where(true, 1 - spread, 0.0) + spread / classes) * (easy * well + (1 - easy) * badly)
    return counted(jnp.where(jnp.any(true, axis=-1), -jnp.sum(times_log(weight, log_p), axis=-1), jnp.nan), where)


def _power(log_x: jax.Array, exponent: ArrayLike) -> jax.Array:
    """`x ** exponent` from the logarithm of x: with finite gradients at x = 0, where `0 ** 0` is 1."""
    none, exponent = jnp.isneginf(log_x), wide(exponent)
    return jnp.where(none & (exponent > 0), 0.0, jnp.exp(exponent * jnp.where(none, 0.0, log_x)))


def _check_exponents(**gammas: ArrayLike) -> None:
    for name, gamma in gammas.items():
        check_number(name, gamma, lambda v: 0 <= v < math.inf, "a finite number, at least 0")
