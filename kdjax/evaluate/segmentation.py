"""How well classes of pixels are told: from counts of pairs, which add up over batches, devices and processes.

Arrays of other shapes raise `InputError`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.shapes import check_shapes


def confusion_matrix(logits: jax.Array, labels: jax.Array, *, ignore: int = -1) -> jax.Array:
    """How often each class was taken for each other one.

    Args:
      logits: `[..., K]`; pixels, tokens or images.
      labels: class numbers `[...]`; negative ones and those equal to `ignore` do not count.
      ignore: a class number that stands for no class.

    Returns:
      Counts `[K, K]`, float32: row = label, column = the largest logit.

    >>> confusion_matrix(jnp.eye(2)[jnp.array([0, 1, 1, 0])], jnp.array([0, 1, 0, -1])).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    check_shapes("...", check_shapes("... K", logits=logits), labels=labels)
    classes = logits.shape[-1]
    counted = (labels >= 0) & (labels != ignore)
    pairs = jnp.where(counted, labels, 0) * classes + jnp.argmax(logits, axis=-1)
    counts = jnp.bincount(pairs.ravel(), counted.ravel().astype(jnp.float32), length=classes**2)
    return counts.reshape(classes, classes)


def class_iou(confusion: Any) -> np.ndarray:
    """The intersection over union of each class, NaN for one that is neither labelled nor predicted.

    Args:
      confusion: counts `[..., K, K]` as `confusion_matrix` gives them, summed over a set.

    Returns:
      Shares `[..., K]` from 0 to 1, float64.

    >>> class_iou([[1.0, 1.0], [0.0, 1.0]]).tolist()
    [0.5, 0.5]
    """
    counts = np.asarray(confusion, np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(-1) + counts.sum(-2) - hits
    return np.divide(hits, union, out=np.full_like(union, np.nan), where=union > 0)


def mean_iou(confusion: Any) -> np.ndarray:
    """The mean of `class_iou` over the classes that are there: mIoU.

    Args:
      confusion: counts `[..., K, K]`.

    Returns:
      Shares `[...]` from 0 to 1; NaN where nothing was counted.

    >>> float(mean_iou([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    0.5
    """
    each = class_iou(confusion)
    there = np.isfinite(each).sum(-1)
    return np.divide(np.nansum(each, -1), there, out=np.full(there.shape, np.nan), where=there > 0)
