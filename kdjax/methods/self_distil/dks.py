"""Deeply-supervised knowledge synergy."""

from kdjax import losses
from kdjax.core import Net, check_positive, masked_loss
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of
from kdjax.methods.self_distil._exits import from_exits


def dks_objective(*, exits: Net, exit_weight: Weight = 1.0, weight: Weight = 1.0, temperature: float = 4.0) -> Objective:
    """Classifiers behind all stages, each of which learns from the labels and from every other one.

    `L_x = exit_weight sum_i CE(z_i, y) + weight sum_{i != j} T^2 KL(softmax(z_j / T) || softmax(z_i / T))`, in the second sum i
    and j over the network's own classifier too, no gradient into z_j. The exits are not shipped.

    Args:
      exits: made by `models.exits` for this net.
      exit_weight: factor of the exits' cross-entropy.
      weight: factor of the imitation, summed over all ordered pairs.
      temperature: T, above 0.

    Reference: Sun, Yao, Zhou and Zhang, Deeply-supervised Knowledge Synergy, CVPR 2019 (arXiv 1906.00675).
    """
    check_positive(temperature=temperature)

    def terms(seen, adapted):
        early = from_exits(seen.student)
        every = [*early, seen.student["logits"]]
        pairs = [(z, other) for k, z in enumerate(every) for j, other in enumerate(every) if j != k]
        return {
            "exits": sum(masked_loss(losses.cross_entropy, z, seen.batch) for z in early),
            "synergy": sum(losses.kl_distillation(z, other, temperature=temperature) for z, other in pairs),
        }

    return Objective(terms, {"exits": exit_weight, "synergy": weight}, needs=(), heads=exits)


dks = method_of(dks_objective, taught=False)
