"""Peers with a classifier of all their maps together."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from kdjax import losses
from kdjax.core import Net, masked_loss
from kdjax.methods.recipes import PeerOutputs
from kdjax.models import fusion, last_map


def fused(**options: Any) -> Net:
    """`models.fusion` of the maps in front of the mean, as a Net of the taps of all peers."""

    def module(taps):
        return fusion(taps[0]["logits"].shape[-1], **options)

    def maps(taps):
        return tuple(last_map(one) for one in taps)

    def init(key, taps):
        return module(taps).init(key, maps(taps))

    def apply(params, stats, taps, *, train, key=None):
        return module(taps).apply(params, stats, maps(taps), train=train)

    return Net(init, apply)


def fused_terms(temperature: float) -> tuple[Callable[..., Mapping[str, Any]], Callable[..., Mapping[str, Any]]]:
    """`(objective, together)` of FFL: the peers learn from the fused classifier, and it from the mean of their logits.

    Args:
      temperature: T, above 0.
    """

    def terms(seen: PeerOutputs, own: Any, target: Any) -> dict[str, Any]:
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, own, seen.batch),
            "imitation": losses.kl_distillation(own, target, temperature=temperature),
        }

    def objective(seen: PeerOutputs, k: int) -> dict[str, Any]:
        return terms(seen, seen.logits[k], seen.adapted["logits"])

    def together(seen: PeerOutputs) -> dict[str, Any]:
        return terms(seen, seen.adapted["logits"], jnp.mean(jnp.stack(seen.logits), axis=0))

    return objective, together
