"""Factor transfer."""

import flax.linen as nn

from kdjax import losses
from kdjax.core import from_linen
from kdjax.core.arrays import Weight
from kdjax.methods.offline.paraphraser import Stack, factor_of
from kdjax.methods.recipes import Objective, Outputs, method_of, pairs


class _Translator(nn.Module):
    layer: str

    @nn.compact
    def __call__(self, seen: Outputs, train: bool):
        [(student, teacher)] = pairs(seen, (self.layer,))
        factor = factor_of(seen.given["paraphraser"].params, teacher)
        few = factor.shape[-1]
        stack = Stack((student.shape[-1], few, few), norm=True, axis_name=seen.axis_name, name="translator")
        return {"student": stack(student, train), "teacher": factor}


def ft_objective(*, weight: Weight = 200.0, layer: str = "", p1: int = 2, p2: int = 1, channel_pool: bool = True) -> Objective:
    """The student's last map, translated, imitates the factor that a trained paraphraser makes of the teacher's.

    `L_x = mean |F(T(f_s)) - F(P(f_t))|^p2`, `F(u)` = mean over channels of `u^p1`, of length 1 over positions. T is trained with
    the student; P is the encoder of `paraphraser`, given as `given["paraphraser"]`.

    Args:
      weight: factor of the term.
      layer: the map, as in `pairs`; empty: the ends of the last stages. The paraphraser's is the same.
      p1: power in the mean over channels.
      p2: power of the difference.
      channel_pool: False compares all channels, as in the paper.

    Reference: Kim, Park and Kwak, Paraphrasing Complex Network: Network Compression via Factor Transfer, NeurIPS 2018 (arXiv
    1802.04977); the default is the code of Tian et al., ICLR 2020 (arXiv 1910.10699).
    """

    def terms(seen, adapted):
        sides = adapted["student"], adapted["teacher"]
        return {"factor": losses.factor_transfer(*sides, p1=p1, p2=p2, channel_pool=channel_pool)}

    return Objective(terms, {"factor": weight}, from_linen(_Translator(layer)), ("teacher", "paraphraser"))


ft = method_of(ft_objective)
