"""Deep mutual learning."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Learner, Method, Net, learn, masked_loss, new_learner, weighted_sum, with_label_weights
from kdjax.core.images import inputs_of


class Mutual(NamedTuple):
    """Peers that teach each other."""

    peers: tuple[Learner, ...]
    step: jax.Array


def dml(
    peers: Sequence[Net],
    tx: optax.GradientTransformation,
    *,
    temperature: float = 1.0,
    weight: float = 1.0,
    simultaneous: bool = False,
    axis_name: str | None = None,
    micro: int = 1,
) -> Method:
    """K networks learn together; each imitates the present predictions of all the others.

    For peer k: `L_k = CE(z_k, y) + weight / (K - 1) sum_{j != k} KL(p_j || p_k)`, means over the batch, no gradient into p_j.
    As in the paper the peers are updated one after another, later ones seeing what earlier ones have just learned.

    Args:
      peers: at least two nets, equal or not; the first is the one that is shipped.
      tx: the optimiser, one state a peer.
      temperature: softens both sides, with the factor T^2; 1 in the paper.
      weight: factor of the imitation term; 0 is independent training.
      simultaneous: all peers imitate the predictions from before this step, instead of one after another.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Reference: Zhang, Xiang, Hospedales and Lu, Deep Mutual Learning, CVPR 2018 (arXiv 1706.00384).
    """
    if len(peers) < 2:
        raise InputError(f"peers={len(peers)} is not accepted: mutual learning takes at least 2 networks")

    def init(key, batch, given):
        keys = jax.random.split(key, len(peers))
        learners = tuple(new_learner(k, net, tx, inputs_of(batch)) for k, net in zip(keys, peers, strict=True))
        return Mutual(learners, jnp.int32(0))

    def step(state, batch, key):
        learners, metrics, batch = list(state.peers), {}, with_label_weights(batch, axis_name)
        for k in range(len(peers)):
            seen = state.peers if simultaneous else tuple(learners)
            learners[k], logged = learn(_loss(k, seen, key), learners[k], tx, batch, axis_name=axis_name, micro=micro)
            metrics |= {f"peer{k}_{name}": value for name, value in logged.items()}
        return Mutual(tuple(learners), state.step + 1), metrics

    def _loss(k, seen, key):
        def logits(j, params, images):
            taps, stats = peers[j].apply(params, seen[j].stats, images, train=True, key=key)
            return taps["logits"], stats

        def loss(params, batch):
            own, stats = logits(k, params, inputs_of(batch))
            others = [logits(j, seen[j].params, inputs_of(batch))[0] for j in range(len(peers)) if j != k]
            terms = {
                "cross_entropy": masked_loss(losses.cross_entropy, own, batch),
                "imitation": sum(losses.kl_distillation(own, z, temperature=temperature) for z in others) / len(others),
            }
            value, metrics = weighted_sum(terms, {"imitation": weight}, micro=micro, where_weight=batch.get("where_weight"))
            return value, (stats, metrics)

        return loss

    def predict(state, inputs):
        return {
            f"peer{k}": net.apply(learner.params, learner.stats, inputs, train=False)[0]
            for k, (net, learner) in enumerate(zip(peers, state.peers, strict=True))
        }

    def weights_of(state):
        return {f"peer{k}": (learner.params, learner.stats) for k, learner in enumerate(state.peers)}

    return Method(init, step, predict, weights_of)
