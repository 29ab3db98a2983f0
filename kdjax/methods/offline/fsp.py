"""The flow of solution procedure: a first stage before plain training."""

from collections.abc import Sequence
from itertools import pairwise

from kdjax import losses
from kdjax.core import InputError
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of, pairs, tap


def fsp_objective(*, weight: Weight = 1.0, layers: Sequence[str] = ()) -> Objective:
    """The student's layers follow from each other as the teacher's do.

    `L_x = sum over neighbouring layers of mean (G_s - G_t)^2`, `G[c, d]` = mean over positions of channel c of the one times
    channel d of the next. Both networks need the same channels. The first stage of two, without labels; then the student is trained
    by labels alone.

    Args:
      weight: factor of the sum; the benchmark's code has 1 in this stage (its 50 multiplies nothing).
      layers: two or more layers in order, as in `pairs`; empty: the stem and the ends of all stages.

    Reference: Yim et al., A Gift from Knowledge Distillation, CVPR 2017; the default is the code of Tian et al., ICLR 2020 (arXiv
    1910.10699).
    """
    if len(layers) == 1:
        raise InputError(f"layers={tuple(layers)} is not accepted: expected two or more, or () for the stem and all stages")

    def terms(seen, adapted):
        stem = [] if layers else [(tap("student", seen.student, "stem"), tap("teacher", seen.teacher, "stem"))]
        maps = stem + pairs(seen, layers)
        for student, teacher in maps:
            if student.shape[-1] != teacher.shape[-1]:
                channels = [tuple(side.shape[-1] for side in sides) for sides in zip(*maps, strict=True)]
                shown = f"the student's have {channels[0]}, the teacher's {channels[1]}"
                raise InputError(f"fsp needs layers of equal channels in both networks: {shown}")
        flows = [losses.flow_of_solution(low[0], high[0], low[1], high[1]) for low, high in pairwise(maps)]
        return {"flow": sum(flows)}

    return Objective(terms, {"flow": weight})


fsp = method_of(fsp_objective, label_weight=None, columns=("image",))
