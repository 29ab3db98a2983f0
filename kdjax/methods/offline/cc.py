"""Correlation congruence."""

from typing import Literal

import flax.linen as nn

from kdjax import losses
from kdjax.core import from_linen
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, Outputs, method_of, tap
from kdjax.models import fan_in_bias, fan_in_uniform


class _Embeddings(nn.Module):
    width: int

    @nn.compact
    def __call__(self, seen: Outputs):
        sides = {"student": seen.student, "teacher": seen.teacher}
        found = {}
        for side, taps in sides.items():
            pooled = tap(side, taps, "pooled")
            start = {"kernel_init": fan_in_uniform, "bias_init": fan_in_bias(pooled.shape[-1])}
            found[side] = nn.Dense(self.width, **start, name=side)(pooled)
        return found


def cc_objective(
    *,
    weight: Weight = 0.02,
    width: int = 128,
    variant: Literal["rows", "paper"] = "rows",
    gamma: float = 0.4,
) -> Objective:
    """Linear embeddings of both networks' pooled features agree across the images of a batch.

    `L_x = mean over i < B - 1 of sum over d of |e_s - e_t|[i, d] |e_s - e_t|[i + 1, d]`; both embeddings are trained.

    Args:
      weight: factor of the term.
      width: of the embeddings.
      variant: `"paper"` compares instead, by mean square, the Gaussian kernels of the embeddings of all pairs of images.
      gamma: of that kernel.

    Reference: Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019 (arXiv 1904.01802); the default is the code
    of Tian et al., ICLR 2020 (arXiv 1910.10699).
    """

    def terms(seen, adapted):
        options = {"variant": variant, "gamma": gamma, "axis_name": seen.axis_name}
        return {"congruence": losses.correlation_congruence(adapted["student"], adapted["teacher"], **options)}

    return Objective(terms, {"congruence": weight}, from_linen(_Embeddings(width)))


cc = method_of(cc_objective)
