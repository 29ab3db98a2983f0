"""Knowledge review."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.core import check_option, from_linen, linear_warmup, nearest_resize
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import Objective, Outputs, method_of, pairs, tap
from kdjax.models import batch_norm, conv2d, fan_in_bias, fan_in_uniform

_fan_in = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


class _Fusion(nn.Module):
    """One level of the review: its map and what the deeper levels left, mixed by attention, made like the teacher's map."""

    width: int
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, deeper: jax.Array | None, teacher: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, H, W, C]` to the level's output, of the teacher's shape, and to what the next level is given."""
        x = batch_norm(train, axis_name=self.axis_name, name="bn1")(conv2d(self.width, 1, init=_fan_in, name="conv1")(x))
        if deeper is not None:
            deeper = nearest_resize(deeper, *x.shape[1:3])
            both = jnp.concatenate([x, deeper], -1)
            start = {"init": fan_in_uniform, "bias_init": fan_in_bias(both.shape[-1])}
            share = nn.sigmoid(conv2d(2, 1, bias=True, **start, name="attention")(both))
            x = x * share[..., :1] + deeper * share[..., 1:]
        x = nearest_resize(x, *teacher.shape[1:3])
        out = conv2d(teacher.shape[-1], 3, init=_fan_in, name="conv2")(x)
        return batch_norm(train, axis_name=self.axis_name, name="bn2")(out), x


class _Review(nn.Module):
    width: int
    layers: tuple[str, ...]

    @nn.compact
    def __call__(self, seen: Outputs, train: bool):
        student, teachers = _student(seen, self.layers), _teacher(seen, self.layers)
        width, fused, x = self.width or min(512, student[-1].shape[-1]), {}, None
        for k in reversed(range(len(teachers))):
            level = _Fusion(width, axis_name=seen.axis_name, name=f"level{k}")
            fused[f"{k}"], x = level(student[k], x, teachers[k], train)
        return fused


def _student(seen, layers):
    return [*(s for s, _ in pairs(seen, layers)), tap("student", seen.student, "pooled")[:, None, None]]


def _teacher(seen, layers):
    return [*(t for _, t in pairs(seen, layers, suffix="_preact")), tap("teacher", seen.teacher, "pooled")[:, None, None]]


def reviewkd_objective(
    *, steps_per_epoch: int, weight: Weight = 5.0, width: int = 0, warmup_epochs: int = 20, layers: Sequence[str] = ()
) -> Objective:
    """Each level of the teacher is imitated by the student's level together with all deeper ones.

    From the pooled features back to the first stage, a 1x1 convolution of the student's map is mixed by attention with what deeper
    levels left, and a 3x3 convolution makes it like the teacher's map before its ReLU.

    `L_x = min(epoch / warmup_epochs, 1)` times the sum over levels of `losses.hierarchical_context`, epochs from 1.

    Args:
      steps_per_epoch: what the warm-up counts.
      weight: factor of the sum; the authors have 5 for wide ResNets and resnet32x4, 8 for ShuffleNetV2, 1 for resnet110, 0.6 for
        resnet56.
      width: channels of the mixed maps; 0: as many as the student's pooled features, at most 512.
      warmup_epochs: epochs until the term counts fully; 0: at once.
      layers: what is compared beside the pooled features, as in `pairs`; empty: the ends of all stages.

    Reference: Chen, Liu, Zhao and Jia, Distilling Knowledge via Knowledge Review, CVPR 2021 (arXiv 2104.09044).
    """
    check_option("width", width, lambda w: w >= 0, "a number of channels, or 0")

    def terms(seen, adapted):
        teachers = _teacher(seen, layers)
        grown = linear_warmup(seen.step // steps_per_epoch + 1, warmup_epochs)
        return {"review": grown * sum(losses.hierarchical_context(adapted[f"{k}"], t) for k, t in enumerate(teachers))}

    return Objective(terms, {"review": weight}, from_linen(_Review(width, tuple(layers))))


reviewkd = method_of(reviewkd_objective)
