"""A mark of ownership in the soft labels of a classifier, and how far a network carries it.

The paper's text was not at hand; the key, the labels and the score are those of this project.
"""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_number, wide
from kdjax.losses._labels import class_mask, class_numbers
from kdjax.losses._softmax import log_probabilities

_FLOOR = 1e-8  # beneath a probability, so that its logarithm is finite


def keyed_labels(labels: ArrayLike, key: ArrayLike, *, epsilon: ArrayLike) -> jax.Array:
    """Labels with a secret share on the other classes, which a classifier learns and hands on to those it teaches.

        (1 - epsilon) onehot(y) + epsilon key[y]

    Args:
      labels: class numbers `[B]` (an integer type).
      key: `[K, K]`, in row c a distribution over the classes other than c.
      epsilon: the share, in [0, 0.5), so that the label stays the largest; 0 is the plain label.

    Returns:
      `[B, K]`, distributions. The row of a class number outside [0, K) is NaN.

    Raises:
      InputError: for other shapes, labels that are not integers, or an epsilon outside [0, 0.5).

    Reference:
      Chien, Shen, "Customized Watermarking for Deep Neural Networks via Label Distribution Perturbation", 2022, arXiv 2208.05477.
      The formula is a reconstruction: the paper's own was not at hand.

    >>> keyed_labels(jnp.array([0]), jnp.array([[0.0, 1.0], [1.0, 0.0]]), epsilon=0.25).tolist()
    [[0.75, 0.25]]
    """
    classes = check_shapes("K K", key=key)["K"][0]
    labels = class_numbers(labels)
    check_number("epsilon", epsilon, lambda v: 0 <= v < 0.5, "a number in [0, 0.5)")
    mine = class_mask(labels, classes)
    found = (1 - wide(epsilon)) * mine + wide(epsilon) * _rows(key, labels)
    return jnp.where(jnp.any(mine, axis=-1, keepdims=True), found, jnp.nan)


def watermark_score(logits: ArrayLike, key: ArrayLike) -> jax.Array:
    """How far predictions show a key: the cosine of what they give to the other classes with the key's row, in logarithms.

        cos(log p, log key[c]),   p = softmax(logits),  c = argmax p, both over the classes other than c and without their mean

    Near 0 for a network that does not know the key, whose mean over images is to be held against random keys and clean networks:
    some keys are like the classes by chance.

    Args:
      logits: `[B, K]`, K of 3 or more.
      key: `[K, K]`, in row c a distribution over the classes other than c.

    Returns:
      `[B]`, from -1 to 1; 0 where all other classes get the same.

    Raises:
      InputError: for other shapes.

    Reference:
      Chien, Shen, "Customized Watermarking for Deep Neural Networks via Label Distribution Perturbation", 2022, arXiv 2208.05477.
      The formula is a reconstruction: the paper has a detector, and its text was not at hand.

    >>> key = jnp.array([[0.0, 0.9, 0.1], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    >>> print(f"{watermark_score(jnp.array([[5.0, 2.0, 1.0]]), key)[0]:.4f}")
    1.0000
    """
    classes = check_shapes("B K", check_shapes("K K", key=key), logits=logits)["K"][0]
    if classes < 3:
        raise InputError(f"logits has shape {np.shape(logits)}: expected [B, K] with K of at least 3")
    z = wide(logits)
    best = jnp.argmax(z, axis=-1)
    others = ~class_mask(best, classes)
    said = jnp.logaddexp(log_probabilities(z), jnp.log(jnp.asarray(_FLOOR, z.dtype)))
    return jnp.sum(_direction(said, others) * _direction(jnp.log(_rows(key, best) + _FLOOR), others), axis=-1)


def _rows(key: ArrayLike, labels: ArrayLike) -> jax.Array:
    return wide(key).at[labels].get(mode="clip")


def _direction(x: jax.Array, where: jax.Array) -> jax.Array:
    """Rows without the mean over what counts, of length 1; 0 elsewhere."""
    mean = jnp.sum(jnp.where(where, x, 0.0), axis=-1, keepdims=True) / jnp.sum(where, axis=-1, keepdims=True)
    return unit(jnp.where(where, x - mean, 0.0))
