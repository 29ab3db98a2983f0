"""What made-up images are like among themselves and for the teacher they were made with, without a single real one; and beside real
ones, whether they are copies.

Distances are Euclidean, between features or between images as rows of numbers.

Arrays of other shapes raise `InputError`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.core import InputError, batch_norms
from kdjax.core.check import check_option
from kdjax.core.shapes import check_shapes
from kdjax.evaluate._distances import as_rows, distances, nearest_others, two_sets


def class_entropy(logits: jax.Array, *, share: bool = False) -> jax.Array:
    """The entropy of the classes that a network sees in images: of the histogram of what it names first.

    0 where all are of one class, the mark of a collapsed generator; log C where all classes are made equally often.

    Args:
      logits: the teacher's `[N, C]`.
      share: True gives the share of log C, from 0 to 1.

    Returns:
      A scalar, in nats or as a share.

    Raises:
      InputError: for a share of fewer than two classes.

    >>> f"{class_entropy(jnp.array([[9.0, 0.0], [5.0, 1.0], [0.0, 2.0], [0.0, 3.0]])):.4f}"  # log 2
    '0.6931'
    """
    check_shapes("N C", logits=logits)
    classes = logits.shape[1]
    named = jnp.mean(jax.nn.one_hot(jnp.argmax(logits, axis=1), classes), axis=0)
    entropy = jnp.sum(jax.scipy.special.entr(named))
    if not share:
        return entropy
    check_option("classes", classes, lambda n: n >= 2, "2 or more, where the entropy is to be a share")
    return entropy / jnp.log(float(classes))


def duplicates(images: Any, *, tolerance: float) -> float:
    """The part of the images that have another one closer than a tolerance: a generator that ignores its latents repeats itself.

    Args:
      images: images or features `[N, ...]`, 2 or more.
      tolerance: a distance above 0; images of P numbers that differ by d in each lie `d sqrt(P)` apart.

    Returns:
      From 0 to 1.

    Raises:
      InputError: for fewer than two images, or a tolerance that is not above 0.

    >>> round(duplicates([[0.0], [0.01], [3.0]], tolerance=0.1), 3)
    0.667
    """
    check_option("tolerance", tolerance, lambda t: t > 0, "a distance above 0")
    return float((nearest_others(as_rows("images", images, 2)) < tolerance).mean())


def diversity(images: Any) -> float:
    """The mean distance between two different images, or their features.

    Args:
      images: images or features `[N, ...]`, 2 or more.

    Returns:
      0 or more; 0 where all are equal.

    Raises:
      InputError: for fewer than two images.

    >>> diversity([[0.0], [0.0], [3.0]])
    2.0
    """
    x = as_rows("images", images, 2)
    total = 0.0
    for rows, block in distances(x, x):
        block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = 0.0
        total += float(block.sum())
    return total / (len(x) * (len(x) - 1))


def nearest_real(images: Any, real: Any) -> tuple[np.ndarray, np.ndarray]:
    """The real image that each made-up one is nearest to, and how near: at 0 it is a copy from the training set.

    Args:
      images: made-up images or their features, `[N, ...]`.
      real: real ones `[M, ...]`, of the same width.

    Returns:
      `(distances, numbers)`: float `[N]`, and the numbers of the real images, int `[N]`.

    Raises:
      InputError: for two widths, or no image.

    >>> apart, which = nearest_real([[0.0], [4.0]], [[5.0], [1.0]])
    >>> apart.tolist(), which.tolist()
    ([1.0, 1.0], [1, 0])
    """
    x, y = two_sets("images", images, "real", real)
    numbers = np.concatenate([block.argmin(1) for _, block in distances(x, y)])
    return np.linalg.norm(x - y[numbers], axis=1), numbers


def batch_norm_distance(taps: dict[str, jax.Array], stats: Any) -> jax.Array:
    """How far images are from a teacher's training set at its batch-norm layers: `losses.batch_norm_statistics`, added up.

    Args:
      taps: the teacher's taps of the images in evaluation mode, with the inputs of its batch-norm layers.
      stats: the teacher's statistics.

    Returns:
      A scalar, at least 0. Few images are further away than many of the same kind.

    Raises:
      InputError: for a teacher without batch norm.

    Reference:
      Hongxu Yin and others, "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", CVPR 2020, arXiv:1912.08795.

    >>> taps, stats = {"norm/bn": jnp.array([[1.0], [3.0]])}, {"bn": {"mean": jnp.zeros(1), "var": 4 * jnp.ones(1)}}
    >>> batch_norm_distance(taps, stats)
    Array(5., dtype=float32)
    """
    layers = batch_norms(taps, stats)
    if not layers:
        raise InputError("a batch-norm distance is not accepted here: this teacher has no batch-norm layers")
    return jnp.sum(jnp.stack([losses.batch_norm_statistics(*layer) for layer in layers]))
