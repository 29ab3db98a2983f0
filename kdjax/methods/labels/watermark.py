"""A mark of ownership in the probabilities of a classifier."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.core import InputError, check_option, check_share, masked_loss
from kdjax.core.arrays import ArrayLike
from kdjax.methods.recipes import Objective, method_of


def watermark_objective(*, key: ArrayLike, epsilon: float = 0.2, share: float = 0.7) -> Objective:
    """A secret key stands in the labels, so that what the classifier gives the other classes shows whose it is.

    `L = (1 - share) CE(z, y) + share KL(s(y) || softmax(z))` with `s(y) = (1 - epsilon) onehot(y) + epsilon key[y]`
    (`losses.keyed_labels`), means over the batch. `evaluate.watermark_key` draws a key, and `losses.watermark_score` tells how far
    a network shows it, also one that was distilled from this.

    Only the abstract was at hand: the formula, the score and the detector of `configs/studies/watermark.py` are a reconstruction,
    and no number of the paper is claimed.

    Args:
      key: `[K, K]`, in row c a distribution over the classes other than c.
      epsilon: the share of a label that goes to the others, in [0, 0.5); 0 is the plain cross-entropy.
      share: a of the keyed labels in the loss, from 0 to 1.

    Reference: Chien and Shen, Customized Watermarking for Deep Neural Networks via Label Distribution Perturbation, 2022 (arXiv
    2208.05477).
    """
    check_option("epsilon", epsilon, lambda v: 0 <= v < 0.5, "a number in [0, 0.5)")
    check_share(share=share)
    marks = jnp.asarray(key)

    def marked(logits: jax.Array, labels: jax.Array) -> jax.Array:
        classes, size = logits.shape[-1], marks.shape
        if size != (classes, classes):
            raise InputError(f"key has shape {size}: expected {(classes, classes)}, the classes of the network")
        return losses.divergence_from(logits, losses.keyed_labels(labels, marks, epsilon=epsilon), temperature=1.0)

    def terms(seen: Any, adapted: Any) -> dict[str, jax.Array]:
        z = seen.student["logits"]
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, z, seen.batch),
            "marked": masked_loss(marked, z, seen.batch),
        }

    return Objective(terms, {"cross_entropy": 1 - share, "marked": share}, needs=())


watermark = method_of(watermark_objective, label_weight=None, taught=False)
