"""Weights of examples in self-paced learning: what is easy comes first."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import check_option
from kdjax.losses._check import check_positive, wide


def self_paced(losses: ArrayLike, *, age: ArrayLike, kind: Literal["log", "hard", "soft"] = "log") -> jax.Array:
    """How much each example counts by its loss l, at the age a of the learner; with it even hard examples come to count.

        "log"   (1 + e^-a) / (1 + e^(l - a))        from 1 at l = 0 to about one half at l = a, and never 0
        "hard"  1 if l < a, else 0
        "soft"  1 - l / a if l < a, else 0

    The weighted loss of a batch is the mean of `self_paced(l, age=a) * l`. No gradient flows through the weights.

    Args:
      losses: at least 0, one an example: `[B]`, or any shape.
      age: a, a finite number above 0; CuDFKD adds 1e-4 in each student step, from 1 or 2 on.
      kind: the rule.

    Returns:
      Weights from 0 to 1, the shape of `losses`.

    Raises:
      InputError: for an age that is not above 0, or an unknown kind.

    Reference:
      Li, Zhou, Li, Ji, Wang, "Dynamic Data-Free Knowledge Distillation by Easy-to-Hard Learning Strategy", Information Sciences
      2023, arXiv 2208.13648; hard weights are those of Kumar, Packer, Koller, "Self-Paced Learning for Latent Variable Models",
      NIPS 2010. The authors' code weighs logits one by one, or the batch as a whole, as its criterion reduces; here an example has
      a weight, as in the paper.

    >>> self_paced(jnp.array([0.0, 0.5, 2.0]), age=1.0, kind="soft")
    Array([1. , 0.5, 0. ], dtype=float32)
    """
    check_positive("age", age)
    check_option("kind", kind, lambda v: v in ("log", "hard", "soft"), "'log', 'hard' or 'soft'")
    x, a = lax.stop_gradient(wide(losses)), lax.stop_gradient(wide(age))
    if kind == "log":
        return (1 + jnp.exp(-a)) * jax.nn.sigmoid(a - x)
    return jnp.where(x < a, 1.0 if kind == "hard" else 1 - x / a, 0.0)
