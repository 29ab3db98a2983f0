"""Self-distillation via dropout."""

from typing import Any, Literal

import jax

from kdjax import losses
from kdjax.core import check_option, check_positive, example_keys
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, Outputs, classifier_of, method_of, tap


def sd_dropout_objective(
    *,
    weight: Weight = 1.0,
    temperature: float = 4.0,
    rate: float = 0.5,
    through: Literal["both", "first", "second"] = "both",
) -> Objective:
    """Two dropout masks on the pooled features give two predictions, which agree.

    `L_x = T^2 (KL(p_u || p_v) + KL(p_v || p_u))` with `z_u = W (u h / (1 - rate)) + b`, the mean over the batch; gradients flow
    through both sides. The labels see no dropout, and the network is passed once. The paper's weight and temperature were not at
    hand: these are a start, to be chosen by validation.

    Args:
      weight: factor of the term.
      temperature: T, above 0.
      rate: chance to drop a feature, from 0 to below 1; at 0 the term is 0.
      through: the arguments of the divergences through which gradients flow.

    Reference: Lee et al., Self-Knowledge Distillation via Dropout, Computer Vision and Image Understanding 2023 (arXiv 2208.05642).
    """
    check_positive(temperature=temperature)
    check_option("rate", rate, lambda r: 0 <= r < 1, "a number from 0 to below 1")

    def terms(seen, adapted):
        first, second = (dropped_logits(seen, rate, number) for number in (0, 1))
        return {"agreement": losses.symmetric_divergence(first, second, temperature=temperature, through=through)}

    return Objective(terms, {"agreement": weight}, needs=())


def dropped_logits(seen: Outputs, rate: Any, number: int = 0) -> jax.Array:
    """What the last layer says of the pooled features that a dropout mask leaves, `[B, K]`.

    Args:
      seen: the batch.
      rate: chance to drop a feature.
      number: of the mask, of which each image has others.
    """
    pooled, layer = tap("student", seen.student, "pooled"), classifier_of(seen.params, "network")
    draw = lambda key: jax.random.bernoulli(jax.random.fold_in(key, number), 1 - rate, pooled.shape[1:])  # noqa: E731
    masks = jax.vmap(draw)(example_keys(seen.key, seen.batch["index"]))
    return pooled * masks / (1 - rate) @ layer["kernel"] + layer["bias"][None]


sd_dropout = method_of(sd_dropout_objective, taught=False, columns=("image", "label", "index"))
