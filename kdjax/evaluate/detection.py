"""Whether a classifier notices images that are none of its own: scores of single images, and how well they part two sets."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from kdjax.core.check import InputError, check_option
from kdjax.core.shapes import check_shapes


def auroc(own: ArrayLike, foreign: ArrayLike) -> float:
    """The area under the ROC curve: how often an image of one's own has the higher score of two, one of each set.

    Equal scores count half. It is the statistic of Mann and Whitney over the number of pairs.

    Args:
      own: scores `[N]`, high for what is known.
      foreign: scores `[M]`.

    Returns:
      A number in [0, 1]; 1/2 where the scores tell nothing.

    Raises:
      InputError: for an empty set, or scores that are NaN.

    >>> auroc([3.0, 2.0], [1.0, 2.0])
    0.875
    """
    own, foreign = _scores(own, foreign)
    foreign = np.sort(foreign)
    below, not_above = (np.searchsorted(foreign, own, side) for side in ("left", "right"))
    return float(np.mean((below + not_above) / 2) / len(foreign))


def false_positive_rate(own: ArrayLike, foreign: ArrayLike, *, recall: float = 0.95) -> float:
    """The share of foreign images that pass where a share `recall` of one's own do: at 0.95 the FPR95 of the literature.

    What passes has a score of at least the largest threshold at which so many of one's own do.

    Args:
      own: scores `[N]`, high for what is known.
      foreign: scores `[M]`.
      recall: above 0, at most 1.

    Returns:
      A number in [0, 1]; 0 is the best.

    Raises:
      InputError: as `auroc`, and for a recall out of range.

    >>> false_positive_rate([4.0, 3.0, 2.0, 1.0], [2.5, 0.0], recall=0.75)
    0.5
    """
    own, foreign = _scores(own, foreign)
    check_option("recall", recall, lambda r: 0 < r <= 1, "a number above 0, at most 1")
    passing = int(np.ceil(recall * len(own) - 1e-9))
    return float(np.mean(foreign >= np.sort(own)[len(own) - passing]))


def max_probability(logits: jax.Array, *, temperature: float = 1.0) -> jax.Array:
    """The highest probability: how sure a classifier is, the usual score of what is known.

    Args:
      logits: `[B, C]`.
      temperature: above 0.

    Returns:
      `[B]`, float32.

    Raises:
      InputError: for another shape, or a temperature that is not above 0.

    Reference:
      Dan Hendrycks, Kevin Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks",
      ICLR 2017, arXiv:1610.02136.

    >>> max_probability(jnp.zeros((1, 4))).tolist()
    [0.25]
    """
    check_shapes("B C", logits=logits)
    check_option("temperature", temperature, lambda t: t > 0, "a number above 0")
    return jnp.max(jax.nn.softmax(logits.astype(jnp.float32) / temperature, axis=-1), axis=-1)


def odin(
    classify: Callable[[jax.Array], jax.Array], images: jax.Array, *, temperature: float = 1000.0, epsilon: float = 0.0014
) -> jax.Array:
    """The highest softened probability behind a small step that raises it: images that are known gain more by it.

        max_k softmax(z(x') / T)_k,   x' = x + epsilon sign(d / dx log max_k softmax(z(x) / T)_k)

    Args:
      classify: `images -> logits [B, C]`, in evaluation mode.
      images: `[B, ...]` floats.
      temperature: T, above 0.
      epsilon: on the scale of the images; the paper has it behind their normalisation, and chooses it on foreign images.

    Returns:
      `[B]`, float32.

    Raises:
      InputError: for a temperature that is not above 0, or a negative epsilon.

    Reference:
      Shiyu Liang, Yixuan Li, R. Srikant, "Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks",
      ICLR 2018, arXiv:1706.02690.

    >>> print(f"{odin(lambda x: x, jnp.array([[1.0, 0.0]]), temperature=1.0, epsilon=0.5)[0]:.4f}")  # 1 / (1 + exp(-2))
    0.8808
    """
    check_option("epsilon", epsilon, lambda e: e >= 0, "a number, 0 or more")

    def surest(x):
        return jnp.sum(jnp.log(max_probability(classify(x), temperature=temperature)))

    return max_probability(classify(images + epsilon * jnp.sign(jax.grad(surest)(images))), temperature=temperature)


def _scores(own: ArrayLike, foreign: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    own, foreign = np.asarray(own, np.float64), np.asarray(foreign, np.float64)
    for name, x in {"own": own, "foreign": foreign}.items():
        if x.ndim != 1 or not x.size or np.isnan(x).any():
            raise InputError(f"{name} has scores of shape {x.shape}: expected numbers [N], one or more and none NaN")
    return own, foreign
