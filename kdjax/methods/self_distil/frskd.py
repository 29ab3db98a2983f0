"""Feature refinement via self-knowledge distillation."""

from kdjax import losses
from kdjax.core import Net, check_positive, masked_loss
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of
from kdjax.models import stage_names


def frskd_objective(
    *,
    pyramid: Net,
    teacher_weight: Weight = 1.0,
    weight: Weight = 2.0,
    feature_weight: Weight = 100.0,
    temperature: float = 4.0,
    stop_teacher: bool = True,
) -> Objective:
    """A pyramid over all stages, which learns beside the network, refines its maps and teaches it.

    `L_x = teacher_weight CE(z_g, y) + weight T^2 KL(softmax(z_g / T) || softmax(z / T)) + feature_weight sum_l AT(f_l, g_l)` with
    the pyramid's maps g_l and logits z_g and AT of `losses.attention_transfer`, no gradient into g_l. The pyramid is not shipped.
    Without these weights the network learns from the labels alone.

    Args:
      pyramid: made by `models.bifpn`.
      teacher_weight: factor of the pyramid's cross-entropy.
      weight: factor of the imitation, which holds T^2; the paper chooses it for each set.
      feature_weight: factor of the attention, likewise.
      temperature: T, above 0.
      stop_teacher: whether no gradient flows into z_g, as in the authors' code; in Self-KD-Lib, whose weights these are, it does.

    Reference: Ji et al., Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge Distillation, CVPR 2021
    (arXiv 2103.08273).
    """
    check_positive(temperature=temperature)

    def terms(seen, adapted):
        own, taught = seen.student["logits"], seen.student["fused_logits"]
        maps = [(seen.student[name], seen.student[f"fused{k}"]) for k, name in enumerate(stage_names(seen.student), 1)]
        return {
            "pyramid": masked_loss(losses.cross_entropy, taught, seen.batch),
            "imitation": losses.kl_distillation(own, taught, temperature=temperature, stop_teacher=stop_teacher),
            "attention": sum(losses.attention_transfer(f, g) for f, g in maps),
        }

    weights = {"pyramid": teacher_weight, "imitation": weight, "attention": feature_weight}
    return Objective(terms, weights, needs=(), heads=pyramid)


frskd = method_of(frskd_objective, taught=False)
