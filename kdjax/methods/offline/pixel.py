"""Pixel distillation: a student that sees a small copy of what its teacher sees."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net, from_linen
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.offline.kd import kd_objective
from kdjax.methods.recipes import Objective, Outputs, combine, labels_objective, tap
from kdjax.methods.recipes import student as one_student
from kdjax.models import Upscaler


class _Head(nn.Module):
    layer: str

    @nn.compact
    def __call__(self, seen: Outputs):
        return {"image": Upscaler(seen.batch["image"].shape[1:], name="head")(tap("student", seen.student, self.layer))}


def pixel(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    label_weight: Weight = 0.1,
    weight: Weight = 0.9,
    temperature: Any = 4.0,
    reconstruction: Weight = 10.0,
    feature_weight: Weight = 0.0,
    layer: str = "stem",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """The student sees images of a smaller side, and makes the large ones out of its first features while it is trained.

    `L = (1 - a) CE(z_s, y) + a KD(z_s, z_t) + b mean |x_sr - x|`: `x` the image at full size, normalised, and `x_sr` what a
    super-resolution head (1x1 convolution, pixel shuffle, leaky ReLU) makes of an early map of the student. With `feature_weight`
    c also `c mean (f_t(x_sr) - f_t(x))^2`, `f_t` the teacher's first features, for a teacher of the student's own kind at full
    size (an assistant). Teacher and student see the same crop; the student shrinks it itself, so that it needs nothing but small
    images once it is trained.

    Args:
      student: made by `models.shrink` or `models.shrunk`: the net to train, on images of a smaller side.
      teacher: the frozen net, on whole images.
      tx: the optimiser of the student and of the head.
      mean: number a channel, which normalises the image that is reconstructed.
      std: likewise, above 0.
      label_weight: factor of the cross-entropy.
      weight: factor a of the imitation of the teacher's softened logits, which holds T^2.
      temperature: T, above 0.
      reconstruction: factor b; the authors have 10 at half the side, 20 to 50 at a quarter.
      feature_weight: factor c.
      layer: the student's map; `"stem=stage1"` where the teacher's has another name. The authors take the first convolution behind
        its ReLU, as `"stem"` is in residual nets (for ImageNet behind the max-pool too, at half their side); in `conv_net` and wide
        nets it is in front of it.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; both nets give `"logits"`, the student the map of `layer`, for
      `feature_weight` the teacher too. Its networks are `"student"` and `"teacher"`.

    Reference: Guo et al., Pixel Distillation: A New Knowledge Distillation Scheme for Low-Resolution Image Recognition (arXiv
    2112.09532); the losses without `feature_weight` are those of the released code (one stage). Those of the two-stage scheme,
    whose code is not released, are reconstructed: `feature_weight`, and its value in `method=pixel_chain`.
    """
    ours, theirs = layer.split("=")[0], layer.split("=")[-1]
    with_features = not (isinstance(feature_weight, int | float) and feature_weight == 0)

    def per_channel(values, x):
        if len(values) not in (1, x.shape[-1]):
            raise InputError(f"mean and std hold {len(values)} numbers: expected one for each of the {x.shape[-1]} channels")
        return jnp.broadcast_to(jnp.asarray(values, x.dtype), x.shape)

    def terms(seen, adapted):
        made, image = adapted["image"], seen.batch["image"]
        shift, scale = per_channel(mean, image), per_channel(std, image)
        found = {"reconstruction": losses.reconstruction(made, (image - shift) / scale)}
        if with_features:
            frozen = seen.given["teacher"]
            # The teacher normalises images itself.
            taps, _ = teacher.apply(frozen.params, frozen.stats, made * scale + shift, train=False)
            found["features"] = losses.hint(tap("teacher", taps, theirs), tap("teacher", seen.teacher, theirs))
        return found

    factors = {"reconstruction": reconstruction} | ({"features": feature_weight} if with_features else {})
    detail = Objective(terms, factors, from_linen(_Head(ours)))
    objective = combine(labels_objective(label_weight), kd_objective(weight=weight, temperature=temperature), detail)
    return one_student(student, tx, objective, teacher=teacher, axis_name=axis_name, micro=micro)
