"""Attention transfer."""

from collections.abc import Sequence
from typing import Literal

from kdjax import losses
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of, pairs


def at_objective(
    *,
    weight: Weight = 1000.0,
    power: int = 2,
    variant: Literal["squared", "paper"] = "squared",
    layers: Sequence[str] = (),
) -> Objective:
    """The student is active where the teacher is, at the end of each stage.

    `L_x = sum over stages of mean (a_s - a_t)^2`, `a` the map's mean of `|f|^power` over channels, of length 1 over positions.

    Args:
      weight: factor of the sum; the released code has 1000.
      power: of the activations.
      variant: `"paper"` takes the length of the difference in place of its mean square.
      layers: what is compared, as in `pairs`; empty: the ends of all stages.

    Reference: Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017 (arXiv 1612.03928); the default is the code of
    Tian et al., ICLR 2020 (arXiv 1910.10699).
    """

    def terms(seen, adapted):
        return {"attention": sum(losses.attention_transfer(s, t, power=power, variant=variant) for s, t in pairs(seen, layers))}

    return Objective(terms, {"attention": weight})


at = method_of(at_objective)
