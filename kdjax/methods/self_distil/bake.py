"""Batch knowledge ensembling."""

import jax.numpy as jnp

from kdjax import losses
from kdjax.core import check_option, check_positive
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of, tap
from kdjax.methods.self_distil.rows import anchors_with_companions


def bake_objective(*, weight: Weight = 1.0, temperature: float = 4.0, omega: float = 0.5) -> Objective:
    """An image's prediction imitates those of the images of its batch that look alike to the network.

    `L_x = T^2 KL(Q || softmax(z / T))` with `Q = (1 - omega) (I - omega A)^-1 softmax(z / T)` and `A` the softmax of the cosines of
    pooled features, `losses.bake_targets`; no gradient into Q. The authors' batches hold each image together with M = 3 others of
    its class (`data.companions`).

    Args:
      weight: factor of the term.
      temperature: T, above 0.
      omega: the weight of the others, from 0 to below 1; at 0 there is nothing to learn.

    Reference: Ge et al., Self-distillation with Batch Knowledge Ensembling Improves ImageNet Classification, 2021
    (arXiv 2104.13298).
    """
    check_positive(temperature=temperature)
    check_option("omega", omega, lambda w: 0 <= w < 1, "a number from 0 to below 1")

    def terms(seen, adapted):
        features, logits = tap("student", seen.student, "pooled"), seen.student["logits"]
        targets = losses.bake_targets(features, logits, temperature=temperature, omega=omega, axis_name=seen.axis_name)
        # A scalar: rows see each other, so that a batch cannot be sliced.
        return {"ensembling": jnp.mean(losses.divergence_from(logits, targets, temperature=temperature))}

    return Objective(terms, {"ensembling": weight}, needs=(), sees=anchors_with_companions)


bake = method_of(bake_objective, taught=False)
