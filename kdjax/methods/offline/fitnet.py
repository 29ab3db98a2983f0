"""FitNets: a hint from the middle of the teacher."""

import flax.linen as nn

from kdjax import losses
from kdjax.core import from_linen
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, Outputs, method_of, pairs
from kdjax.models import Connector


class _Regressor(nn.Module):
    layer: str

    @nn.compact
    def __call__(self, seen: Outputs, train: bool):
        [(student, teacher)] = pairs(seen, (self.layer,))
        return {"hint": Connector(teacher.shape[1:], axis_name=seen.axis_name)(student, train)}


def fitnet_objective(*, weight: Weight = 100.0, layer: str = "stage2") -> Objective:
    """The student's middle map, through a trained convolution, imitates the teacher's.

    `L_x = mean (r(f_s) - f_t)^2` over all elements, r = convolution, batch norm, ReLU. The paper has half the squared norm, and
    trains the student up to this map before it distils (`fitnet_hint` as a first stage); the benchmarks train both at once.

    Args:
      weight: factor of the term.
      layer: the map, as in `pairs`.

    Reference: Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015 (arXiv 1412.6550); the default is the code of Tian et
    al., ICLR 2020 (arXiv 1910.10699).
    """

    def terms(seen, adapted):
        [(_, teacher)] = pairs(seen, (layer,))
        return {"hint": losses.hint(adapted["hint"], teacher)}

    return Objective(terms, {"hint": weight}, from_linen(_Regressor(layer)))


fitnet = method_of(fitnet_objective)
fitnet_hint = method_of(fitnet_objective, label_weight=None, columns=("image",))
