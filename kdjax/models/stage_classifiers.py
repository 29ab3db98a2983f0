"""A backbone with a classifier behind every stage, made of copies of the stages that follow."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError, check_option, nearest, pick
from kdjax.core.linen_net import from_linen
from kdjax.core.net import NORM, Net, at_of
from kdjax.models.build import DTYPES, build
from kdjax.models.conv import conv2d, fan_in_uniform
from kdjax.models.conv_net import halve
from kdjax.models.exit_heads import BottleneckExit, SeparableExit
from kdjax.models.mobilenet_v2 import InvertedResidual
from kdjax.models.norm import batch_norm
from kdjax.models.resnet import BasicBlock, Bottleneck
from kdjax.models.shufflenet_v1 import ShuffleUnit
from kdjax.models.shufflenet_v2 import DownUnit, SplitUnit
from kdjax.models.taps import stage_names
from kdjax.models.wide_resnet import PreactBlock

ROTATIONS = 4


class ConvBlock(nn.Module):
    """A stage of `conv_net`, or a layer of a VGG: with stride 2 a max-pool first, then 3x3 convolution, batch norm, ReLU.

    Attributes:
      width: output channels.
      stride: 1 or 2.
      bias: whether the convolution has one.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    width: int
    stride: int = 1
    bias: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """`[B, H, W, C]` to the output `[B, H', W', width]` and the same before its ReLU."""
        x = conv2d(self.width, 3, bias=self.bias, dtype=self.dtype, name="conv")(halve(x) if self.stride == 2 else x)
        preact = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name="bn")(x)
        return nn.relu(preact), preact


class _Family(NamedTuple):
    """How nets of one kind go on from one of their maps.

    Attributes:
      block: `(width, number, *, stride, ...) -> ` block `number` of a stage, with so many channels in the end.
      relu: the activation behind the `"head"`, where there is one.
      end: whether batch norm and ReLU follow the last block.
      stages: `taps -> ` the stages, in order, those that share a size of map together.
    """

    block: Callable[..., nn.Module]
    relu: Callable[[jax.Array], jax.Array] = nn.relu
    end: bool = False
    stages: Callable[[Mapping[str, jax.Array]], list[list[str]]] = lambda taps: [[name] for name in stage_names(taps)]


def _family(block: Callable[..., nn.Module], expansion: int = 1, **more: Any) -> _Family:
    return _Family(lambda width, number, **options: block(width // expansion, **options), **more)


def _inverted(relu: Callable[[jax.Array], jax.Array]) -> _Family:
    return _Family(lambda width, number, **options: InvertedResidual(width, relu=relu, **options), relu)


def _halves(width: int, number: int, *, stride: int, **options: Any) -> nn.Module:
    return DownUnit(width, stride=stride, **options) if number == 1 else SplitUnit(**options)


def _by_side(taps: Mapping[str, jax.Array]) -> list[list[str]]:
    """The stages of a VGG, of which the stem is one, by the side of their maps."""
    return [list(names) for _, names in groupby(["stem", *stage_names(taps)], lambda name: taps[name].shape[1])]


_FAMILIES: dict[str, _Family] = {
    "conv_net": _family(ConvBlock),
    **dict.fromkeys(("resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), _family(BasicBlock)),
    **dict.fromkeys(("resnet8x4", "resnet32x4", "resnet18", "resnet34"), _family(BasicBlock)),
    "preact_resnet18": _family(PreactBlock),
    "resnet50": _family(Bottleneck, Bottleneck.expansion),
    **dict.fromkeys(("wrn", "wrn_16_1", "wrn_16_2", "wrn_28_10", "wrn_40_1", "wrn_40_2"), _family(PreactBlock, end=True)),
    **dict.fromkeys(("vgg8", "vgg11", "vgg13", "vgg16", "vgg19"), _family(partial(ConvBlock, bias=True), stages=_by_side)),
    "mobilenet_v2": _inverted(nn.relu6),
    "mobilenet_v2_half": _inverted(nn.relu),
    "shufflenet_v1": _family(ShuffleUnit),
    "shufflenet_v2": _Family(_halves),
}


class _Branches(nn.Module):
    family: _Family
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
            blocks = blocks[: self.blocks[stage_names(taps).index(stage) - 1]]
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
        that is not there or is the last, or another number of blocks.

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
    if net["name"] not in _FAMILIES:
        raise InputError(f"net {net['name']!r} has no branches; accepted: {nearest(net['name'], _FAMILIES)}")
    classes = net.get("classes", 0)
    check_option("classes", classes, lambda n: n >= 1, "1 or more, as branches have to predict them")
    dtype = pick("dtype", str(net.get("dtype", "float32")), DTYPES)
    return from_linen(_Branches(_FAMILIES[net["name"]], each * classes, kind, dtype, axis_name, **options))


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

    return Net(init, apply, at_of(attach, net, heads))


def branched(net: Mapping[str, Any], classes: int, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
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
