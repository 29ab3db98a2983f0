"""Plain supervised training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Learner, Method, Net, check_option, labelled, learn, new_learner, read_by_name, weigh_labels, weighted_sum


class Supervised(NamedTuple):
    """One network that learns from labels."""

    network: Learner
    step: jax.Array


def supervised(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    smoothing: float = 0.0,
    axis_name: str | None = None,
    micro: int = 1,
) -> Method:
    """Cross-entropy with the labels: how a teacher is made, and the student alone that a distilled one is held against.

    `L = mean_B CE(q, softmax(z))`, with `q` the label, smoothed over all classes. A batch whose `label` is `[B, K]` (mixup,
    cutmix) trains on that distribution; rows with a negative label (unlabelled images) do not count.

    Args:
      network: the net to train.
      tx: its optimiser.
      smoothing: probability mass spread over all K classes; 0 is plain cross-entropy.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Reference: smoothing: Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016
    (arXiv 1512.00567).
    """
    check_option("smoothing", smoothing, lambda s: 0 <= s < 1, "a number from 0 to below 1")

    def init(key, batch, given):
        return Supervised(new_learner(key, network, tx, batch["image"]), jnp.int32(0))

    def step(state, batch, key):
        def loss(params, batch):
            taps, stats = network.apply(params, state.network.stats, batch["image"], train=True, key=key)
            terms = {"cross_entropy": labelled(losses.cross_entropy, taps["logits"], batch, smoothing=smoothing)}
            value, metrics = weighted_sum(terms, {}, micro=micro)
            return value, (stats, metrics)

        learner, metrics = learn(loss, state.network, tx, weigh_labels(batch, axis_name), axis_name=axis_name, micro=micro)
        return Supervised(learner, state.step + 1), metrics

    return Method(init, step, *read_by_name(network=network))
