"""A backbone with a classifier behind every stage."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.check import InputError, check_option, nearest, pick
from kdjax.core.net import NORM, Net, from_linen
from kdjax.models.build import DTYPES, build
from kdjax.models.conv import conv2d, fan_in_uniform
from kdjax.models.conv_net import halve
from kdjax.models.norm import batch_norm
from kdjax.models.resnet import BasicBlock, Bottleneck
from kdjax.models.taps import stage_names
from kdjax.models.wide_resnet import PreactBlock

ROTATIONS = 4


class ConvBlock(nn.Module):
    """A stage of `conv_net`: with stride 2 a max-pool first, then 3x3 convolution, batch norm, ReLU.

    Attributes:
      width: output channels.
      stride: 1 or 2.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    stride: int = 1
    dtype: Any = jnp.float32
    axis_name: str | None = None

    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, H, W, C]` to the output `[B, H', W', width]` and the same before its ReLU."""
        x = conv2d(self.width, 3, dtype=self.dtype, name="conv")(halve(x) if self.stride == 2 else x)
        preact = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name="bn")(x)
        return nn.relu(preact), preact


_BLOCKS: dict[str, Any] = {
    "conv_net": ConvBlock,
    **dict.fromkeys(("resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), BasicBlock),
    **dict.fromkeys(("resnet8x4", "resnet32x4", "resnet18", "resnet34"), BasicBlock),
    "resnet50": Bottleneck,
    **dict.fromkeys(("wrn", "wrn_16_1", "wrn_16_2", "wrn_28_10", "wrn_40_1", "wrn_40_2"), PreactBlock),
}


class _Branches(nn.Module):
    block: Any
    outputs: int
    dtype: Any
    axis_name: str | None

    @nn.compact
    def __call__(self, taps: Mapping[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        options = {"dtype": self.dtype, "axis_name": self.axis_name}
        stages, found = len(stage_names(taps)), {}
        for branch in range(1, stages + 1):
            x = taps[f"stage{branch}"]
            # Behind the last stage comes one more like it, which keeps the side.
            for stage in range(branch + 1, stages + 1) or (stages,):
                width = taps[f"stage{stage}"].shape[-1] // self.block.expansion
                depth = sum(name.startswith(f"stage{stage}_block") for name in taps)
                for number in range(1, max(depth, 1) + 1):
                    stride = 2 if number == 1 and stage > branch else 1
                    name = f"branch{branch}_stage{stage}_block{number}"
                    x, _ = self.block(width, stride=stride, **options, name=name)(x, train)
            if self.block is PreactBlock:
                x = nn.relu(batch_norm(train, **options, name=f"branch{branch}_bn")(x))
            pooled = jnp.mean(x, (1, 2), dtype=jnp.float32)
            found[f"joint{branch}"] = nn.Dense(self.outputs, kernel_init=fan_in_uniform, name=f"branch{branch}_classifier")(pooled)
        return found


def branches(net: Mapping[str, Any], *, axis_name: str | None = None) -> Net:
    """The classifiers of class and rotation behind the stages of a backbone, as a Net of its taps.

    Branch l takes stage l through copies of the stages that follow it in the backbone, with as many blocks, the same widths and
    strides; the last one through one more stage like the last, of stride 1. Then come (in pre-activation nets batch norm and ReLU)
    the mean over positions and a linear layer to 4 logits a class, in the order of `losses.joint_labels`.

    Args:
      net: specification of the backbone, with `classes`: a `conv_net`, a residual net or a wide one.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of the backbone's taps with the taps `"joint1"`, `"joint2"`, ... `[B, 4 classes]`, float32.

    Raises:
      InputError: for another net, or one without classes.

    Reference: Yang, An, Cai, Xu, "Hierarchical Self-supervised Augmented Knowledge Distillation", IJCAI 2021, arXiv 2107.13715.

    >>> net = branches({"name": "conv_net", "classes": 3})
    >>> taps = {"stage1": jnp.ones((2, 4, 4, 5)), "stage2": jnp.ones((2, 2, 2, 6))}
    >>> params, stats = net.init(jax.random.key(0), taps)
    >>> net.apply(params, stats, taps, train=False)[0]["joint2"].shape
    (2, 12)
    """
    if net["name"] not in _BLOCKS:
        raise InputError(f"net {net['name']!r} has no branches; accepted: {nearest(net['name'], _BLOCKS)}")
    classes = net.get("classes", 0)
    check_option("classes", classes, lambda n: n >= 1, "1 or more, as branches have to predict them")
    dtype = pick("dtype", str(net.get("dtype", "float32")), DTYPES)
    return from_linen(_Branches(_BLOCKS[net["name"]], ROTATIONS * classes, dtype, axis_name))


def attach(net: Net, heads: Net) -> Net:
    """`heads` on all taps of `net`; params and stats are `{"net", "heads"}`, the taps those of both.

    >>> from kdjax.models import conv_net
    >>> whole = attach(conv_net((2, 3), 5), branches({"name": "conv_net", "classes": 5}))
    >>> params, stats = whole.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
    >>> taps, _ = whole.apply(params, stats, jnp.ones((1, 4, 4, 1)), train=False)
    >>> taps["logits"].shape, taps["joint1"].shape
    ((1, 5), (1, 20))
    """

    def init(key, x):
        params, stats = net.init(key, x)
        shapes = jax.eval_shape(lambda p, s: net.apply(p, s, x, train=False)[0], params, stats)
        taps = jax.tree.map(lambda tap: jnp.zeros(tap.shape, tap.dtype), shapes)
        params_heads, stats_heads = heads.init(jax.random.fold_in(key, 1), taps)
        return {"net": params, "heads": params_heads}, {"net": stats, "heads": stats_heads}

    def apply(params, stats, x, *, train, key=None):
        keys = (None, None) if key is None else (key, jax.random.fold_in(key, 1))
        taps, new = net.apply(params["net"], stats["net"], x, train=train, key=keys[0])
        more, new_heads = heads.apply(params["heads"], stats["heads"], taps, train=train, key=keys[1])
        return {**_within("net", taps), **_within("heads", more)}, {"net": new, "heads": new_heads}

    return Net(init, apply)


def branched(net: Mapping[str, Any], classes: int, *, dtype: Any = jnp.float32, axis_name: str | None = None) -> Net:
    """A backbone and its `branches`, in one Net.

    Args:
      net: specification of the backbone, as `build` takes it; its classes and dtype are those given here.
      classes: number of logits, 1 or more.
      dtype: of the computation; parameters and logits are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with the backbone's taps and `"joint1"`, `"joint2"`, ... `[B, 4 classes]`.

    Raises:
      InputError: as `build` and `branches`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(branched({"name": "conv_net", "widths": [4, 8]}, 10), (1, 8, 8, 1))
    2054
    """
    whole = {**net, "classes": classes, "dtype": jnp.dtype(dtype).name}
    return attach(build(whole, axis_name=axis_name), branches(whole, axis_name=axis_name))


def _within(part: str, taps: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {k.replace(NORM, f"{NORM}{part}/", 1) if k.startswith(NORM) else k: v for k, v in taps.items()}
