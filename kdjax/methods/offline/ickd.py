"""Inter-channel correlation."""

import flax.linen as nn

from kdjax import losses
from kdjax.core import from_linen
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, Outputs, method_of, pairs
from kdjax.models import batch_norm, conv2d, fan_in_uniform


class _Embedding(nn.Module):
    layer: str

    @nn.compact
    def __call__(self, seen: Outputs, train: bool):
        [(student, teacher)] = pairs(seen, (self.layer,))
        x = conv2d(teacher.shape[-1], 1, init=fan_in_uniform, name="conv")(student)
        return {"map": batch_norm(train, axis_name=seen.axis_name, name="bn")(x)}


def ickd_objective(*, weight: Weight = 2.5, layer: str = "") -> Objective:
    """The student's channels have to do with one another as the teacher's have.

    `L_x = sum (G_s - G_t)^2 / C`, `G` the inner products over positions of every two of the C channels, each row of length 1; the
    student's map passes a trained 1x1 convolution with batch norm.

    Args:
      weight: factor of the term.
      layer: the map, as in `pairs`; empty: the ends of the last stages.

    Reference: Liu et al., Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation, ICCV 2021 (arXiv
    2202.03680).
    """

    def terms(seen, adapted):
        [(_, teacher)] = pairs(seen, (layer,))
        return {"channels": losses.inter_channel_correlation(adapted["map"], teacher)}

    return Objective(terms, {"channels": weight}, from_linen(_Embedding(layer)))


ickd = method_of(ickd_objective)
