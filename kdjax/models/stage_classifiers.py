"""A backbone with a classifier behind every stage, made of copies of the stages that follow."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError, check_option, nearest, pick
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.build import DTYPES
from kdjax.models.conv import conv2d, fan_in_uniform
from kdjax.models.exit_heads import BottleneckExit, SeparableExit
from kdjax.models.norm import batch_norm
from kdjax.models.stage_families import FAMILIES, Family
from kdjax.models.taps import stage_names

ROTATIONS = 4


class _Branches(nn.Module):
    family: Family
    outputs: int
    kind: str
    dtype: Any
    axis_name: AxisName
    stages: tuple[str, ...] = ()
    blocks: tuple[int, ...] = ()
    heads: str = "copies"

    @nn.compact
    def __call__(self, taps: Mapping[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        options, found = {"dtype": self.dtype, "axis_name": self.axis_name}, {}
        sizes = self.family.stages(taps)
        if self.kind != "joint" and len(sizes) < 2:
            raise InputError(
                f"{self.kind}s lie behind the stages but the last, of which this net has {len(sizes)}: expected 2 or more stages"
            )
        if self.blocks and len(self.blocks) != (behind := len(stage_names(taps)) - 1):
            raise InputError(f"blocks={self.blocks} is not accepted: expected () or {behind} numbers, one a stage behind the first")
        numbered = list(enumerate(sizes, 1))
        chosen = {"joint": numbered, "exit": self._chosen(numbered[:-1]), "bridge": numbered[-2:-1]}[self.kind]
        for number, (branch, own) in enumerate(chosen, 1):
            name, x = f"branch{branch}", taps[own[-1]]
            # Behind the last size of map come stages like those of that size once more, without a stride.
            between = [
                (stage, 2 if branch < len(sizes) and not k else 1)
                for same in sizes[branch:] or sizes[-1:]
                for k, stage in enumerate(same)
            ]
            copies = self.heads == "copies"
            if copies:
                for stage, stride in between:
                    x = self._stage(x, taps, stage, name, stride, train)
            else:
                x = self._head(x, taps, between, name, train)
            found |= {f"exit{number}_map": x} if self.kind == "exit" else {}
            if self.family.end and copies:
                x = nn.relu(batch_norm(train, **options, name=f"{name}_bn")(x))
            if "head" in taps and copies:
                x = conv2d(taps["head"].shape[-1], 1, dtype=self.dtype, name=f"{name}_head_conv")(x)
                x = self.family.relu(batch_norm(train, **options, name=f"{name}_head_bn")(x))
            pooled = jnp.mean(x, (1, 2), dtype=jnp.float32)
            logits = nn.Dense(self.outputs, kernel_init=fan_in_uniform, name=f"{name}_classifier")(pooled)
            if self.kind == "bridge":
                found |= {"logits": logits, "pooled": pooled}
            elif self.kind == "exit":
                found |= {f"exit{number}": logits, f"exit{number}_pooled": pooled}
            else:
                found |= {f"joint{branch}": logits}
        return found

    def _chosen(self, numbered: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
        """Those behind the stages asked for; all where none is."""
        if unknown := set(self.stages) - {own[-1] for _, own in numbered}:
            accepted = ", ".join(own[-1] for _, own in numbered)
            raise InputError(f"stages={self.stages} is not accepted: no exit lies behind {min(unknown)}; accepted: {accepted}")
        return [(branch, own) for branch, own in numbered if own[-1] in self.stages or not self.stages]

    def _head(self, x, taps: Mapping[str, jax.Array], between: list[tuple[str, int]], name: str, train: bool) -> jax.Array:
        """What stands in for copies of the stages between, with as many channels in the end as the net's pooled features."""
        options, width = {"dtype": self.dtype, "axis_name": self.axis_name}, taps["pooled"].shape[-1]
        if self.heads == "bottleneck":
            factor = max(1, x.shape[1] // taps[between[-1][0]].shape[1])
            return BottleneckExit(width, factor, **options, name=f"{name}_bottleneck")(x, train)
        widths = [*(taps[stage].shape[-1] for stage, _ in between[:-1]), width]
        return SeparableExit(widths, [stride for _, stride in between], **options, name=f"{name}_separable")(x, train)

    def _stage(self, x, taps: Mapping[str, jax.Array], stage: str, name: str, stride: int, train: bool) -> jax.Array:
        """The blocks of one stage, with as many channels as the backbone has behind each."""
        found = [tap for tap in taps if tap.startswith(f"{stage}_block")]
        blocks = sorted(found, key=lambda tap: int(tap.removeprefix(f"{stage}_block"))) or [stage]
        if self.blocks:
            most, count = len(blocks), self.blocks[stage_names(taps).index(stage) - 1]
            check_option("blocks", self.blocks, lambda _: count <= most, f"at most the {most} of {stage}")
            blocks = blocks[:count]
        for number, tap in enumerate(blocks, 1):
            options = {"dtype": self.dtype, "axis_name": self.axis_name, "name": f"{name}_{stage}_block{number}"}
            x = self.family.block(taps[tap].shape[-1], number, stride=stride if number == 1 else 1, **options)(x, train)
            x = x[0] if isinstance(x, tuple) else x
        return x


def branches(net: Mapping[str, Any], *, axis_name: AxisName = None) -> Net:
    """The classifiers of class and rotation behind the stages of a backbone, as a Net of its taps.

    Branch l takes stage l through copies of the stages that follow it in the backbone, with as many blocks, the same widths and
    strides; the last one through one more stage like the last, of stride 1. Then come (in pre-activation nets batch norm and ReLU,
    in MobileNetV2 and ShuffleNetV2 the last 1x1 convolution) the mean over positions and a linear layer to 4 logits a class, in
    the order of `losses.joint_labels`. Of a VGG the first stage, its stem, counts too, and stages without a pool in between count
    as one, as in the authors' code.

    Args:
      net: specification of the backbone, with `classes`: any net of stages.
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
    return _branches(net, ROTATIONS, "joint", axis_name)


def exits(
    net: Mapping[str, Any],
    *,
    stages: Sequence[str] = (),
    blocks: Sequence[int] = (),
    heads: str = "copies",
    axis_name: AxisName = None,
) -> Net:
    """The classifiers behind the stages of a backbone but the last, as a Net of its taps: at each of them one may leave the net.

    Made as `branches` are, with a logit a class; or with smaller heads in place of copies of the stages that follow.

    Args:
      net: specification of the backbone, with `classes`: any net of two stages or more.
      stages: behind which there is an exit, `("stage2", "stage3")`; (): behind all but the last.
      blocks: the first how many blocks of each stage are copied, a number for each stage of the net but the first; (): all.
      heads: `"copies"`, `"bottleneck"` (`BottleneckExit`) or `"separable"` (`SeparableExit`).
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of the backbone's taps with the taps `"exit1"`, ... `[B, classes]`, from the shallowest on, `"exit1_pooled"`, ...
      `[B, D]`, both float32, and `"exit1_map"`, ..., of the shape of the backbone's last stage.

    Raises:
      InputError: for another net, one without classes, or unknown heads; when it is initialised, for one of a single stage, a stage
        that is not there or is the last, or numbers of blocks that do not fit.

    Reference: Zhang, Song, Gao, Chen, Bao, Ma, "Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via
    Self Distillation", ICCV 2019, arXiv 1905.08094.

    >>> net = exits({"name": "conv_net", "classes": 3})
    >>> taps = {"stage1": jnp.ones((2, 4, 4, 5)), "stage2": jnp.ones((2, 2, 2, 6))}
    >>> found, _ = net.apply(*net.init(jax.random.key(0), taps), taps, train=False)
    >>> found["exit1"].shape, found["exit1_pooled"].shape, found["exit1_map"].shape
    ((2, 3), (2, 6), (2, 2, 2, 6))
    """
    kinds = ("copies", "bottleneck", "separable")
    check_option("heads", heads, lambda h: h in kinds, " or ".join(map(repr, kinds)))
    check_option(
        "blocks", tuple(blocks), lambda n: not n or (heads == "copies" and min(n) >= 1), "numbers of at least 1, of copies"
    )
    return _branches(net, 1, "exit", axis_name, stages=tuple(stages), blocks=tuple(blocks), heads=heads)


def bridge(net: Mapping[str, Any], *, axis_name: AxisName = None) -> Net:
    """A last stage of its own for what leaves the last stage but one of a backbone, with a classifier, as a Net of its taps.

    Made as `exits` are, with weights of its own; of a net of three stages or more it is the deepest exit alone.

    Args:
      net: specification of the backbone, with `classes`: any net of two stages or more.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of the backbone's taps with the taps `"logits"` `[B, classes]` and `"pooled"` `[B, D]`, float32.

    Raises:
      InputError: for another net, or one without classes; when it is initialised, for one of a single stage.

    Reference: Liu, Liu, Huang, "Semi-Online Knowledge Distillation", BMVC 2021, arXiv 2111.11747.

    >>> net = bridge({"name": "conv_net", "classes": 3})
    >>> taps = {"stage1": jnp.ones((2, 4, 4, 5)), "stage2": jnp.ones((2, 2, 2, 6))}
    >>> found, _ = net.apply(*net.init(jax.random.key(0), taps), taps, train=False)
    >>> found["logits"].shape, found["pooled"].shape
    ((2, 3), (2, 6))
    """
    return _branches(net, 1, "bridge", axis_name)


def _branches(net, each, kind, axis_name, **options):
    """Of `each` outputs a class."""
    if net["name"] not in FAMILIES:
        raise InputError(f"net {net['name']!r} has no branches; accepted: {nearest(net['name'], FAMILIES)}")
    classes = net.get("classes", 0)
    check_option("classes", classes, lambda n: n >= 1, "1 or more, as branches have to predict them")
    dtype = pick("dtype", str(net.get("dtype", "float32")), DTYPES)
    return from_linen(_Branches(FAMILIES[net["name"]], each * classes, kind, dtype, axis_name, **options))
