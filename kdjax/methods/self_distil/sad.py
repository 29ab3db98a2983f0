"""Self attention distillation."""

from itertools import pairwise

from kdjax import losses
from kdjax.core import InputError
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of
from kdjax.models import stage_names


def sad_objective(*, weight: Weight = 1000.0) -> Objective:
    """Each stage looks where the stage behind it looks.

    `L_x = sum_l mean over positions of (a_l - a_{l+1})^2` with `a` the softmax over positions of the mean over channels of the
    squared map, the later map upsampled and without gradient, the mean over the batch.

    Args:
      weight: factor of the term; 1000 in Self-KD-Lib.

    Reference: Hou, Ma, Liu and Loy, Learning Lightweight Lane Detection CNNs by Self Attention Distillation, ICCV 2019
    (arXiv 1908.00821).
    """

    def terms(seen, adapted):
        names = stage_names(seen.student)
        if len(names) < 2:
            raise InputError(
                f"the network has {len(names)} stages: expected 2 or more, each of which learns from the one behind it"
            )
        maps = [seen.student[name] for name in names]
        return {"attention": sum(losses.attention_below(low, high) for low, high in pairwise(maps))}

    return Objective(terms, {"attention": weight}, needs=())


sad = method_of(sad_objective, taught=False)
