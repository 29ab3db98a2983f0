"""Self-distillation without labels."""

import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_count, check_option, check_positive, check_share, cosine_to_one, freeze
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views
from kdjax.models import prototype_head


def dino(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    steps_per_epoch: int,
    outputs: int = 65536,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.07,
    warmup_temperature: float = 0.04,
    warmup_epochs: int = 30,
    centre_momentum: float = 0.9,
    momentum: float = 0.996,
    frozen_epochs: int = 1,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """The network gives, for every view, the sharpened and centred outputs that its slow copy gives for the other large views.

    `L = losses.dino(student, teacher, centre)` over all pairs of different views. The first two views are the large ones, which the
    slow network sees; more views of any size may follow. The teacher's temperature rises in the first epochs, its centre follows
    the mean of its outputs, its momentum rises to 1 by a cosine. Views of one size pass the encoder as one batch, and all views the
    projector. The slow encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`; the paper's has three layers with GELU, and no batch norm.
      tx: the optimiser.
      steps: length of the run, for the schedule of the momentum.
      steps_per_epoch: of the run.
      outputs: how many outputs there are: cosines with as many directions.
      student_temperature: of the network's outputs.
      teacher_temperature: of the slow network's, behind the warm-up.
      warmup_temperature: at its start.
      warmup_epochs: length of the warm-up, both ends included.
      centre_momentum: how much of itself the centre keeps.
      momentum: how much of itself the slow network keeps, at the start.
      frozen_epochs: the first ones, in which the last layer does not learn.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two or more of each image; a probe asks for `"label"`. Its network is `"encoder"`, the slow
      one; beside it stand `"projector"`, `"prototypes"`, `"online_encoder"`, `"target_projector"` and `"target_prototypes"`.

    Reference: Caron, Touvron, Misra, Jegou, Mairal, Bojanowski and Joulin, Emerging Properties in Self-Supervised Vision
    Transformers, ICCV 2021 (arXiv 2104.14294).
    """
    check_positive(
        student_temperature=student_temperature, teacher_temperature=teacher_temperature, warmup_temperature=warmup_temperature
    )
    check_share(centre_momentum=centre_momentum, momentum=momentum)
    check_count(steps=steps)
    for name, value in {"warmup_epochs": warmup_epochs, "frozen_epochs": frozen_epochs}.items():
        check_option(name, value, lambda n: n >= 0, "a whole number, 0 or more")

    def teacher_temperature_at(step):
        risen = jnp.minimum((step // steps_per_epoch) / max(warmup_epochs - 1, 1), 1.0) if warmup_epochs else 1.0
        return warmup_temperature + (teacher_temperature - warmup_temperature) * risen

    def objective(seen):
        student, teacher = (jnp.stack([taps["scores"] for taps in side]) for side in (seen.online, seen.target))
        now = {"student_temperature": student_temperature, "teacher_temperature": teacher_temperature_at(seen.step)}
        loss = losses.dino(student, teacher, seen.memory, **now, axis_name=seen.axis_name)
        return {"dino": loss}, losses.dino_centre(seen.memory, teacher, momentum=centre_momentum, axis_name=seen.axis_name)

    def memory(key, seen):
        return jnp.zeros(outputs)

    nets = {"encoder": encoder, "projector": projector, "prototypes": prototype_head(outputs)}
    return views(
        nets, freeze(tx, ["prototypes"], frozen_epochs * steps_per_epoch), objective, follow=tuple(nets),
        decay=lambda step: cosine_to_one(step, steps, momentum), target_sees=(0, 1), together=True, ships="target", memory=memory,
        probe=probe, axis_name=axis_name,
    )  # fmt: skip
