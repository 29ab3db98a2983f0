"""One network instead of several: as rich features, out of what their heads say."""

import jax

from kdjax import losses
from kdjax.core import Net
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective
from kdjax.models import linear_head


def rich_objective(*, weight: Weight = 1.0, temperature: float = 4.0) -> Objective:
    """The student's features give, by a linear layer for each of several teachers, what that teacher answers (DISTILL_n).

        L_x = sum over i of T^2 KL(softmax(z_i / T) || softmax(w_i f(x) / T))

    where z_i are the logits of teacher i, frozen, and w_i a linear layer with a bias on the student's features, which is trained
    with it and not shipped. As each teacher has features of its own, the student needs all of them to answer for each. The teacher
    is one net or `models.ensemble`.

    Args:
      weight: factor of the sum.
      temperature: T, above 0.

    Reference: Zhang and Bottou, Learning Useful Representations for Shifting Tasks and Distributions, ICML 2023 (arXiv 2212.07346);
    the authors have released no code of it.
    """

    def init(key, seen):
        heads = {f"teacher{k}": linear_head(z.shape[-1]) for k, z in enumerate(_answers(seen.teacher))}
        made = {n: head.init(jax.random.fold_in(key, k), seen.student["pooled"]) for k, (n, head) in enumerate(heads.items())}
        return {name: params for name, (params, _) in made.items()}, {name: stats for name, (_, stats) in made.items()}

    def apply(params, stats, seen, *, train, key=None):
        heads = {f"teacher{k}": linear_head(z.shape[-1]) for k, z in enumerate(_answers(seen.teacher))}
        pooled = seen.student["pooled"]
        return {n: head.apply(params[n], stats[n], pooled, train=train)[0]["logits"] for n, head in heads.items()}, stats

    def terms(seen, adapted):
        each = (
            losses.kl_distillation(adapted[f"teacher{k}"], z, temperature=temperature) for k, z in enumerate(_answers(seen.teacher))
        )
        return {"distillation": sum(each)}

    return Objective(terms, {"distillation": weight}, Net(init, apply))


def _answers(teacher):
    """The logits of every teacher."""
    several = sum(name.startswith("teacher") and name.endswith("/logits") for name in teacher)
    return [teacher[f"teacher{k}/logits"] for k in range(several)] or [teacher["logits"]]
