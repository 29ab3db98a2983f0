"""What calms a prediction without any teacher: a virtual one, and a penalty on being sure."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError, check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, check_positive, wide
from kdjax.losses._labels import class_mask, class_numbers
from kdjax.losses._positions import counted, shown
from kdjax.losses._softmax import divergence, log_probabilities, tempered, times_log
from kdjax.losses.logits import cross_entropy


def teacher_free(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    correct: ArrayLike = 0.9,
    temperature: ArrayLike = 20.0,
    variant: Literal["library", "official"] = "library",
    where: ArrayLike | None = None,
) -> jax.Array:
    """Distillation from a virtual teacher u that gives `correct` to the label and the rest, in equal parts, to the other classes.

        "library":   -1 / T sum_k u_k log softmax(logits / T)_k
        "official":  KL(softmax(u / T) || softmax(logits))

    It stands beside the cross-entropy with the labels. The first is that cross-entropy itself where `correct` and T are 1.

    Args:
      logits: `[..., K]`, K of 2 or more.
      labels: class numbers `[...]` (an integer type).
      correct: what u gives to the label, in [0, 1]; the authors' code has 0.99.
      temperature: T, a number above 0.
      variant: `"library"` (Self-KD-Lib), or `"official"` (the authors' code), where u, a distribution, is made into one once more
        and the student is not softened.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats. The row of a class number outside [0, K) is NaN.

    Raises:
      InputError: for other shapes, labels that are not integers, or options out of range.

    Reference:
      Yuan, Tay, Li, Wang, Feng, "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020,
      arXiv 1909.11723. The authors' code takes the mean over classes too, and makes up for it by a factor (100 on CIFAR-100).

    >>> print(f"{teacher_free(jnp.zeros((1, 4)), jnp.array([2]))[0]:.4f}")  # log 4 / 20
    0.0693
    """
    labels = class_numbers(labels, check_shapes("... K", logits=logits))
    check_number("correct", correct, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    check_positive("temperature", temperature)
    check_option("variant", variant, lambda v: v in ("library", "official"), "'library' or 'official'")
    logits, labels = shown(where, logits, labels)
    if variant == "library":
        wrong = 1 - wide(correct)
        each = cross_entropy(tempered(logits, temperature), labels, smoothing=wrong, others=True)
        return counted(each / wide(temperature), where)
    classes = np.shape(logits)[-1]
    if classes < 2:
        raise InputError(f"logits has shape {np.shape(logits)}: expected [..., K] with K of at least 2")
    true = class_mask(labels, classes)
    u = jnp.where(true, wide(correct), (1 - wide(correct)) / (classes - 1)).astype(wide(logits).dtype)
    apart = jnp.sum(divergence(log_probabilities(u, temperature), log_probabilities(logits)), axis=-1)
    return counted(jnp.where(jnp.any(true, axis=-1), apart, jnp.nan), where)


def confidence_penalty(logits: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """The negative entropy of a prediction, which penalises being sure.

        sum_k p_k log p_k,   p = softmax(logits)

    Args:
      logits: `[..., K]`.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats, from -log K to 0.

    Raises:
      InputError: for another shape.

    Reference:
      Pereyra, Tucker, Chorowski, Kaiser, Hinton, "Regularizing Neural Networks by Penalizing Confident Output Distributions", 2017,
      arXiv 1701.06548, where its weight is 0.1. Self-KD-Lib has the mean over classes, with 0.5.

    >>> print(f"{confidence_penalty(jnp.zeros((1, 4)))[0]:.4f}")  # -log 4
    -1.3863
    """
    check_shapes("... K", logits=logits)
    log_p = log_probabilities(*shown(where, logits))
    return counted(jnp.sum(times_log(jnp.exp(log_p), log_p), axis=-1), where)
