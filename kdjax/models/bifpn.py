"""A head over all stages of a backbone, from the deepest map to the shallowest and back, with a classifier at its end."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError, check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d, fan_in_bias, fan_in_uniform
from kdjax.models.norm import batch_norm
from kdjax.models.taps import stage_names


def bifpn(classes: int, *, width: int = 2, depth: int = 2, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """A bidirectional pyramid of features over the stages of a backbone, the self-teacher of FRSKD.

    On the way up a stage's map is joined with the one behind it, enlarged, on the way down with the one before it, halved, and with
    the stage once more: each join a mean with trained weights, then `depth` separable 3x3 convolutions. Stage l has `width` times
    the backbone's channels. All maps pass a ReLU where they are taken up again; those returned are the sums before it.

    Args:
      classes: number of logits, 1 or more.
      width: channels as a multiple of those of each stage.
      depth: separable convolutions behind a join.
      dtype: of the computation; parameters and logits are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of a backbone's taps with the taps `"fused1"`, ... `[B, H_l, W_l, width C_l]`, one a stage, and `"fused_logits"`
      `[B, classes]`.

    Raises:
      InputError: for options out of range; when it is initialised, for a backbone of fewer than two stages, or whose maps shrink by
        more than 2.

    Reference: Ji, Shin, Hwang, Park and Moon, Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge Distillation,
    CVPR 2021 (arXiv 2103.08273), after Tan, Pang and Le, EfficientDet, CVPR 2020 (arXiv 1911.09070). The authors' `BiFPNc` of one
    round.

    >>> net = bifpn(3, width=2, depth=1)
    >>> taps = {"stage1": jnp.ones((2, 4, 4, 5)), "stage2": jnp.ones((2, 2, 2, 6))}
    >>> found, _ = net.apply(*net.init(jax.random.key(0), taps), taps, train=False)
    >>> found["fused1"].shape, found["fused2"].shape, found["fused_logits"].shape
    ((2, 4, 4, 10), (2, 2, 2, 12), (2, 3))
    """
    for name, value in {"classes": classes, "width": width, "depth": depth}.items():
        check_option(name, value, lambda n: n >= 1, "a whole number of at least 1")
    return from_linen(_Pyramid(classes, width, depth, dtype, axis_name))


class _Pyramid(nn.Module):
    classes: int
    width: int
    depth: int
    dtype: Any
    axis_name: AxisName

    @nn.compact
    def __call__(self, taps: Mapping[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        stages = [nn.relu(taps[name]) for name in stage_names(taps)]
        last = len(stages) - 1
        if last < 1:
            raise InputError(f"a pyramid lies over the stages of a net, of which this one has {len(stages)}: expected 2 or more")
        widths = [self.width * x.shape[-1] for x in stages]

        def pointwise(x, stage, name):
            x = conv2d(widths[stage], 1, init=fan_in_uniform, dtype=self.dtype, name=f"{name}{stage + 1}_conv")(x)
            return nn.relu(batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"{name}{stage + 1}_bn")(x))

        def joined(stage, name, *maps):
            weights = nn.relu(self.param(f"{name}{stage + 1}_weights", nn.initializers.ones, (len(maps),)))
            weights = (weights / (jnp.sum(weights) + 1e-6)).astype(self.dtype)
            x = sum((w * x for w, x in zip(weights, maps, strict=True)), jnp.zeros((), self.dtype))
            for k in range(1, self.depth + 1):
                layer, start = f"{name}{stage + 1}_layer{k}", {"init": fan_in_uniform, "dtype": self.dtype}
                x = nn.relu(x) if k > 1 else x
                x = conv2d(x.shape[-1], 3, groups=x.shape[-1], **start, name=f"{layer}_depthwise")(x)
                x = conv2d(widths[stage], 1, **start, name=f"{layer}_pointwise")(x)
                x = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"{layer}_bn")(x)
            return x

        beside = [pointwise(x, stage, "lateral") for stage, x in enumerate(stages)]
        up = {last: beside[last]}
        for stage in range(last - 1, -1, -1):
            # The 1x1 convolution before it is enlarged: the same, of a quarter of the pixels.
            behind = _enlarged(pointwise(nn.relu(up[stage + 1]), stage, "enlarged"), stages[stage])
            up[stage] = joined(stage, "up", beside[stage], behind)
        down = [up[0]]
        for stage in range(1, last + 1):
            again = [pointwise(stages[stage], stage, "again"), *([nn.relu(up[stage])] if stage < last else [])]
            before = pointwise(_halved(nn.relu(down[-1]), stages[stage]), stage, "halved")
            down.append(joined(stage, "down", *again, before))
        pooled = jnp.mean(nn.relu(down[-1]), (1, 2), dtype=jnp.float32)
        start = {"kernel_init": fan_in_uniform, "bias_init": fan_in_bias(pooled.shape[-1])}
        logits = nn.Dense(self.classes, **start, name="classifier")(pooled)
        return {f"fused{stage}": x for stage, x in enumerate(down, 1)} | {"fused_logits": logits}


def _enlarged(x: jax.Array, like: jax.Array) -> jax.Array:
    """Each pixel twice along the sides that another map has larger, the last one three times where that side is odd."""
    for axis in (1, 2):
        side, wanted = x.shape[axis], like.shape[axis]
        if side < wanted:
            twice = jnp.stack([x, x], axis + 1).reshape(*x.shape[:axis], 2 * side, *x.shape[axis + 1 :])
            ends = [lax.slice_in_dim(twice, 0, min(wanted, 2 * side), axis=axis)]
            x = jnp.concatenate(ends + [lax.slice_in_dim(x, side - 1, side, axis=axis)] * (wanted - 2 * side), axis)
    return x


def _halved(x: jax.Array, like: jax.Array) -> jax.Array:
    """The maxima of 3x3 pixels at every second one, zeros around, of a map of values from 0; as it is where no side shrinks."""
    for axis in (1, 2):
        side, wanted = x.shape[axis], like.shape[axis]
        if side == wanted:
            continue
        if wanted not in (side // 2, -(-side // 2)):
            raise InputError(f"a pyramid halves maps: expected half a side of {side} in the stage behind, found {wanted}")
        around = 2 * wanted + 1 - side
        x = jnp.pad(x, [(around // 2, around - around // 2) if k == axis else (0, 0) for k in range(4)])
        # Maxima of slices: the gradient of a window reduction is slow in compiled loops on a CPU.
        one, two, three = (lax.slice_in_dim(x, k, k + 2 * wanted - 1, 2, axis) for k in range(3))
        x = jnp.maximum(jnp.maximum(one, two), three)
    return x
