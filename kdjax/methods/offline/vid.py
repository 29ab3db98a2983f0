"""Variational information distillation."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.core import check_option, from_linen, match_sizes
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, Outputs, method_of, pairs
from kdjax.models import conv2d, fan_in_uniform

_LEAST = 1e-5  # variance


class _Guess(nn.Module):
    """How badly a Gaussian around the regressed student's map predicts the teacher's: `[B]`."""

    variance: float
    width: int  # inside

    @nn.compact
    def __call__(self, student: jax.Array, teacher: jax.Array) -> jax.Array:
        x, teacher = match_sizes(student, teacher)
        channels = teacher.shape[-1]
        x = nn.relu(conv2d(self.width, 1, init=fan_in_uniform, name="conv1")(x))
        x = nn.relu(conv2d(self.width, 1, init=fan_in_uniform, name="conv2")(x))
        mean = conv2d(channels, 1, init=fan_in_uniform, name="conv3")(x)
        start = nn.initializers.constant(jnp.log(jnp.expm1(self.variance - _LEAST)))
        log_scale = self.param("log_scale", start, (channels,))
        return losses.variational_information(mean, teacher, log_scale, epsilon=_LEAST)


class _Guesses(nn.Module):
    layers: tuple[str, ...]
    variance: float

    @nn.compact
    def __call__(self, seen: Outputs):
        sides = enumerate(pairs(seen, self.layers))
        return {"information": sum(_Guess(self.variance, t.shape[-1], name=f"guess{k}")(s, t) for k, (s, t) in sides)}


def vid_objective(*, weight: Weight = 1.0, variance: float = 5.0, layers: Sequence[str] = ()) -> Objective:
    """A Gaussian around a regression of the student's map predicts the teacher's, at the end of each stage.

    `L_x = sum over stages of mean ((r(f_s) - f_t)^2 / v + log v) / 2`, r = three 1x1 convolutions with ReLU between them, v a
    variance for each channel, trained too. The larger map is average-pooled to the other's size.

    Args:
      weight: factor of the sum.
      variance: v at the start, above 1e-5.
      layers: what is compared, as in `pairs`; empty: the ends of all stages.

    Reference: Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019 (arXiv 1904.05835).
    """
    check_option("variance", variance, lambda v: v > _LEAST, f"a number above {_LEAST}")

    def terms(seen, adapted):
        return adapted

    return Objective(terms, {"information": weight}, from_linen(_Guesses(tuple(layers), variance)))


vid = method_of(vid_objective)
