"""Activation boundaries: a first stage before plain training."""

from collections.abc import Sequence

import flax.linen as nn

from kdjax import losses
from kdjax.core import from_linen
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, Outputs, method_of, pairs
from kdjax.models import Connector


class _Connectors(nn.Module):
    layers: tuple[str, ...]

    @nn.compact
    def __call__(self, seen: Outputs, train: bool):
        connected = {}
        for k, (student, teacher) in enumerate(pairs(seen, self.layers, suffix="_preact")):
            alike = student.shape[1:] == teacher.shape[1:]
            connector = Connector(teacher.shape[1:], relu=False, axis_name=seen.axis_name, name=f"connector{k}")
            connected[f"{k}"] = student if alike else connector(student, train)
        return connected


def ab_objective(*, weight: Weight = 3 / 1000, margin: float = 1.0, layers: Sequence[str] = ()) -> Objective:
    """The student's neurons are on where the teacher's are, before the activation at the end of each stage.

    `L_x = sum over layers l = 0 ... L - 1 of 2^(l - L + 1) sum over elements of max(m - s, 0)^2 where t > 0, max(m + s, 0)^2
    elsewhere`, s through a convolution and batch norm where the shapes differ. The first stage of two, without labels; then the
    student is trained by labels alone.

    Args:
      weight: factor of the batch mean; the code has 3 / 1000, and these weights of layers; the paper has the plain sum.
      margin: m, above 0.
      layers: what is compared, as in `pairs`; empty: the ends of all stages.

    Reference: Heo et al., Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons, AAAI 2019 (arXiv
    1811.03233); the default is the code of Tian et al., ICLR 2020 (arXiv 1910.10699).
    """

    def terms(seen, adapted):
        teachers = [teacher for _, teacher in pairs(seen, layers, suffix="_preact")]
        parts = [losses.activation_boundary(adapted[f"{k}"], t, margin=margin) for k, t in enumerate(teachers)]
        return {"boundary": sum(2.0 ** (k + 1 - len(parts)) * part for k, part in enumerate(parts))}

    return Objective(terms, {"boundary": weight}, from_linen(_Connectors(tuple(layers))))


ab = method_of(ab_objective, label_weight=None, columns=("image",))
