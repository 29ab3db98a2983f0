"""Softmax regression representation learning."""

import flax.linen as nn
import jax.numpy as jnp

from kdjax import losses
from kdjax.core import from_linen
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, Outputs, classifier_of, method_of, tap
from kdjax.models import batch_norm, conv2d, last_map


class _Connector(nn.Module):
    """A 1x1 convolution that starts as the authors' does, at N(0, 2 / C_t); SimKD's code has PyTorch's default there."""

    @nn.compact
    def __call__(self, seen: Outputs, train: bool):
        x = conv2d(tap("teacher", seen.teacher, "pooled").shape[-1], 1, name="conv")(last_map(seen.student))
        x = nn.relu(batch_norm(train, axis_name=seen.axis_name, name="bn")(x))
        return {"pooled": jnp.mean(x, (1, 2))}


def srrl_objective(*, weight: Weight = 1.0) -> Objective:
    """The student's last map, through a 1x1 convolution, batch norm and ReLU, gives the teacher's features and its outputs.

    `L_x = mean (h - h_t)^2 + mean (W_t h + b_t - z_t)^2`, h the mean of that map over positions, `W_t` and `b_t` the teacher's own
    linear layer.

    Args:
      weight: factor of both terms.

    Reference: Yang, Martinez, Bulat and Tzimiropoulos, Knowledge Distillation via Softmax Regression Representation Learning, ICLR
    2021.
    """

    def terms(seen, adapted):
        layer = classifier_of(seen.given["teacher"].params)
        logits = adapted["pooled"] @ layer["kernel"] + layer["bias"][None]
        return {
            "representation": losses.hint(adapted["pooled"], tap("teacher", seen.teacher, "pooled")),
            "regression": losses.hint(logits, tap("teacher", seen.teacher, "logits")),
        }

    return Objective(terms, {"representation": weight, "regression": weight}, from_linen(_Connector()))


srrl = method_of(srrl_objective)
