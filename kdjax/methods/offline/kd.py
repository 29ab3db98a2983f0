"""Knowledge distillation."""

import optax

from kdjax import losses
from kdjax.core import Method, Net, labelled
from kdjax.methods.offline._recipe import offline


def kd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    temperature: float = 4.0,
    weight: float = 0.9,
    label_weight: float = 0.1,
    axis_name: str | None = None,
    micro: int = 1,
) -> Method:
    """The student imitates the teacher's softened outputs.

    `L = label_weight CE(z_s, y) + weight T^2 KL(softmax(z_t / T) || softmax(z_s / T))`, means over the batch. The defaults are
    those of the CIFAR-100 benchmark of Tian et al., ICLR 2020 (arXiv 1910.10699).

    Args:
      student: the net to train.
      teacher: the frozen net.
      tx: the student's optimiser.
      temperature: T, above 0.
      weight: factor of the distillation term, which holds T^2.
      label_weight: factor of the cross-entropy; rows with a negative label (unlabelled images) do not count in it.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Reference: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015 (arXiv 1503.02531).
    """

    def objective(taps_s, taps_t, batch, step):
        return {
            "cross_entropy": labelled(losses.cross_entropy, taps_s["logits"], batch),
            "distillation": losses.kl_distillation(taps_s["logits"], taps_t["logits"], temperature=temperature),
        }

    weights = {"cross_entropy": label_weight, "distillation": weight}
    return offline(student, teacher, tx, objective, weights=weights, axis_name=axis_name, micro=micro)
