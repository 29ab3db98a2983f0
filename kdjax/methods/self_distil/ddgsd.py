"""Data-distortion guided self-distillation."""

from typing import Literal

import jax.numpy as jnp

from kdjax import losses
from kdjax.core import check_option, check_positive, mean, pmean
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of, tap
from kdjax.methods.self_distil.rows import both_views, parted


def ddgsd_objective(
    *, weight: Weight = 1.0, temperature: float = 4.0, feature_weight: Weight = 5e-4, mmd: Literal["scalar", "vector"] = "scalar"
) -> Objective:
    """Two augmented views of each image, each of which learns from the other, in predictions and mean features.

    `L_x = KL_T(z_1 <- z_2) + KL_T(z_2 <- z_1)`, each target without gradient, and `feature_weight` times the squared distance of
    the mean features. Both views, `batch["views"]`, pass the network as one batch, and all 2 B of them learn from the labels.

    Args:
      weight: factor of the imitation.
      temperature: T, above 0.
      feature_weight: factor of the distance.
      mmd: `"scalar"`, the difference of two grand means of the pooled features, as in Self-KD-Lib, or `"vector"`, the paper's
        distance of the mean feature vectors.

    Reference: Xu and Liu, Data-Distortion Guided Self-Distillation for Deep Neural Networks, AAAI 2019.
    """
    check_positive(temperature=temperature)
    check_option("mmd", mmd, lambda v: v in ("scalar", "vector"), "'scalar' or 'vector'")

    def terms(seen, adapted):
        both = losses.symmetric_divergence(*parted(seen.student["logits"]), temperature=temperature, through="second")
        f, g = parted(tap("student", seen.student, "pooled"))
        if mmd == "scalar":
            distance = mean(f - g, axis_name=seen.axis_name) ** 2
        else:
            distance = jnp.sum(pmean(jnp.mean(f - g, axis=0), seen.axis_name) ** 2)
        return {"imitation": both, "mean_features": distance}

    weights = {"imitation": weight, "mean_features": feature_weight}
    return Objective(terms, weights, needs=(), sees=both_views)


ddgsd = method_of(ddgsd_objective, label_weight=0.5, taught=False, columns=("views", "label"))
