"""Neuron selectivity transfer."""

from collections.abc import Sequence

from kdjax import losses
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of, pairs


def nst_objective(*, weight: Weight = 50.0, layers: Sequence[str] = ()) -> Objective:
    """The student's channels select the same patterns as the teacher's, at the end of each stage.

    `L_x = sum over stages of mean k(t, t) + mean k(s, s) - 2 mean k(s, t)`, `k(a, b) = <a, b>^2` of channels, each of length 1 over
    positions; the means are over pairs of channels.

    Args:
      weight: factor of the sum.
      layers: what is compared, as in `pairs`; empty: the ends of all stages.

    Reference: Huang and Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, 2017 (arXiv 1707.01219).
    """

    def terms(seen, adapted):
        return {"selectivity": sum(losses.neuron_selectivity(s, t) for s, t in pairs(seen, layers))}

    return Objective(terms, {"selectivity": weight})


nst = method_of(nst_objective)
