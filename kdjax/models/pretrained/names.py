"""Names of layers in PyTorch nets, and those of the same layers here: one map an architecture, in the order of the net."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kdjax.core import pick

Layers = Iterator[tuple[str, str]]

_RESIDUAL = {
    "conv1": "conv1",
    "bn1": "bn1",
    "conv2": "conv2",
    "bn2": "bn2",
    "conv3": "conv3",
    "bn3": "bn3",
    "shortcut_conv": "downsample.0",
    "shortcut_bn": "downsample.1",
}
_PREACT = {"bn1": "bn1", "conv1": "conv1", "bn2": "bn2", "conv2": "conv2", "shortcut_conv": "convShortcut"}
_INVERTED = {"conv1": "0.0", "bn1": "0.1", "conv2": "1.0", "bn2": "1.1", "conv3": "2", "bn3": "3"}
_INVERTED_SMALL = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4", "conv3": "6", "bn3": "7"}
_SYNONYMS = {"downsample": "shortcut", "shortcut": "downsample", "fc": "linear", "linear": "fc"}
_INVERTED_ALIKE = {"conv2": "0.0", "bn2": "0.1", "conv3": "1", "bn3": "2"}  # without the convolution to more channels
_TRANSFORMER = {
    "norm1": "norm1",
    "qkv": "attn.qkv",
    "proj": "attn.proj",
    "norm2": "norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}


def layers_of(name: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The layers of a net as `(PyTorch's name, path here)`, in the order of the net; a lone parameter counts as a layer.

    Args:
      name: of the net, one of `models.NETS`.
      params: of the net, for the layers that it has.

    Raises:
      InputError: for a net without a map, with those that have one.

    >>> layers_of("resnet8", {"conv": {}, "bn": {}, "stage1_block1": {"conv1": {}, "shortcut_conv": {}}, "classifier": {}})[2:4]
    [('layer1.0.conv1', 'stage1_block1/conv1'), ('layer1.0.downsample.0', 'stage1_block1/shortcut_conv')]
    """
    return [(theirs, ours) for theirs, ours in pick("PyTorch names of net", name, _MAPS)(params) if _at(params, ours) is not None]


def synonym(theirs: str) -> str:
    """The name in other ResNets, where shortcuts and the linear layer have other names.

    >>> synonym("layer1.0.downsample.0"), synonym("linear"), synonym("conv1")
    ('layer1.0.shortcut.0', 'fc', 'conv1')
    """
    return ".".join(_SYNONYMS.get(word, word) for word in theirs.split("."))


def _resnet(params: Mapping[str, Any]) -> Layers:
    """RepDistiller's models/resnet.py."""
    yield from [("conv1", "conv"), ("bn1", "bn")]
    for block, stage, number in _blocks(params):
        yield from ((f"layer{stage}.{number - 1}.{theirs}", f"{block}/{ours}") for ours, theirs in _RESIDUAL.items())
    yield "fc", "classifier"


def _resnet_large(params: Mapping[str, Any]) -> Layers:
    """torchvision's and timm's ResNets; with a 3x3 stem those of RepDistiller's models/resnetv2.py."""
    small = params["conv"]["kernel"].shape[0] == 3
    yield from ((synonym(theirs) if small else theirs, ours) for theirs, ours in _resnet(params))


def _wrn(params: Mapping[str, Any]) -> Layers:
    """RepDistiller's models/wrn.py."""
    yield "conv1", "conv"
    for block, stage, number in _blocks(params):
        yield from ((f"block{stage}.layer.{number - 1}.{theirs}", f"{block}/{ours}") for ours, theirs in _PREACT.items())
    yield from [("bn1", "bn"), ("fc", "classifier")]


def _preact_resnet(params: Mapping[str, Any]) -> Layers:
    """Self-KD-Lib's models/resnet.py."""
    yield from [("conv1", "conv"), ("bn1", "bn")]
    inside = _PREACT | {"shortcut_conv": "shortcut.0"}
    for block, stage, number in _blocks(params):
        yield from ((f"layer{stage}.{number - 1}.{theirs}", f"{block}/{ours}") for ours, theirs in inside.items())
    yield "fc", "classifier"


def _mobilenet_v2(params: Mapping[str, Any]) -> Layers:
    """torchvision's MobileNetV2, whose blocks are counted through all stages."""
    yield from [("features.0.0", "conv"), ("features.0.1", "bn")]
    count = 0
    for count, (block, _, _) in enumerate(_blocks(params), 1):
        inside = _INVERTED if "conv1" in params[block] else _INVERTED_ALIKE
        yield from ((f"features.{count}.conv.{theirs}", f"{block}/{ours}") for ours, theirs in inside.items())
    yield from [(f"features.{count + 1}.0", "head_conv"), (f"features.{count + 1}.1", "head_bn"), ("classifier.1", "classifier")]


def _vit(params: Mapping[str, Any]) -> Layers:
    """timm's vision transformers, DeiT's own."""
    yield from [("patch_embed.proj", "embed"), ("cls_token", "class_token"), ("dist_token", "distillation_token")]
    yield "pos_embed", "positions"
    for number in range(1, sum(name.startswith("block") for name in params) + 1):
        yield from ((f"blocks.{number - 1}.{theirs}", f"block{number}/{ours}") for ours, theirs in _TRANSFORMER.items())
    yield from [("norm", "norm"), ("head", "classifier"), ("head_dist", "classifier_distillation")]


def _mobilenet_v2_half(params: Mapping[str, Any]) -> Layers:
    """RepDistiller's models/mobilenetv2.py, whose blocks are counted in each group of the same channels."""
    yield from [("conv1.0", "conv"), ("conv1.1", "bn")]
    groups = [f"{group}.{i}" for group, blocks in enumerate((1, 2, 3, 4, 3, 3, 1)) for i in range(blocks)]
    for group, (block, _, _) in zip(groups, _blocks(params), strict=True):
        yield from ((f"blocks.{group}.conv.{theirs}", f"{block}/{ours}") for ours, theirs in _INVERTED_SMALL.items())
    yield from [("conv2.0", "head_conv"), ("conv2.1", "head_bn"), ("classifier.0", "classifier")]


def _shufflenet(params: Mapping[str, Any]) -> Layers:
    """RepDistiller's models/ShuffleNetv1.py and ShuffleNetv2.py."""
    yield from [("conv1", "conv"), ("bn1", "bn")]
    for block, stage, number in _blocks(params):
        inside = [f"{kind}{i}" for i in range(1, 6) for kind in ("conv", "bn")]
        yield from ((f"layer{stage}.{number - 1}.{layer}", f"{block}/{layer}") for layer in inside)
    yield from [("conv2", "head_conv"), ("bn2", "head_bn"), ("linear", "classifier")]


def _vgg(params: Mapping[str, Any]) -> Layers:
    """RepDistiller's models/vgg.py, which counts convolution, batch norm and ReLU of each stage through."""
    for block, stage in enumerate(("stem", "stage1", "stage2", "stage3", "stage4")):
        for i in range(sum(name.startswith(f"{stage}_conv") for name in params)):
            yield from [(f"block{block}.{3 * i}", f"{stage}_conv{i + 1}"), (f"block{block}.{3 * i + 1}", f"{stage}_bn{i + 1}")]
    yield "classifier", "classifier"


def _lenet(params: Mapping[str, Any]) -> Layers:
    """DAFL's lenet.py."""
    yield from ((f"conv{stage}", f"stage{stage}_conv") for stage in (1, 2, 3))
    yield from [("fc1", "hidden"), ("fc2", "classifier")]


def _inception(params: Mapping[str, Any]) -> Layers:
    """pytorch-fid's inception.py, which has the names of torchvision's."""
    stem = {"conv1a": "1a_3x3", "conv2a": "2a_3x3", "conv2b": "2b_3x3", "conv3b": "3b_1x1", "conv4a": "4a_3x3"}
    within = [(f"Conv2d_{theirs}", ours) for ours, theirs in stem.items()]
    for block in sorted(name for name in params if name.startswith("mixed")):
        within += [(f"Mixed_{block.removeprefix('mixed')}.{row}", f"{block}/{row}") for row in params[block]]
    for theirs, ours in within:
        yield from ((f"{theirs}.{layer}", f"{ours}/{layer}") for layer in ("conv", "bn"))
    yield "fc", "classifier"


_MAPS: dict[str, Callable[[Mapping[str, Any]], Layers]] = {
    **dict.fromkeys(
        (
            "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4", "resnet32x4",
        ),
        _resnet,
    ),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50"), _resnet_large),
    **dict.fromkeys(("wrn", "wrn_16_1", "wrn_16_2", "wrn_28_10", "wrn_40_1", "wrn_40_2"), _wrn),
    "preact_resnet18": _preact_resnet,
    **dict.fromkeys(("lenet5", "lenet5_half"), _lenet),
    "inception": _inception,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v2_half": _mobilenet_v2_half,
    **dict.fromkeys(("shufflenet_v1", "shufflenet_v2"), _shufflenet),
    **dict.fromkeys(("vgg8", "vgg11", "vgg13", "vgg16", "vgg19"), _vgg),
    **dict.fromkeys(("vit", "vit_tiny", "vit_small", "vit_base", "deit_tiny", "deit_small", "deit_base"), _vit),
}  # fmt: skip


def _blocks(params: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """The blocks `stage<s>_block<n>` as `(name, s, n)`, in the order of the net."""
    found = [m for name in params if (m := re.fullmatch(r"stage(\d+)_block(\d+)", name))]
    return sorted(((m[0], int(m[1]), int(m[2])) for m in found), key=lambda block: block[1:])


def _at(tree: Any, path: str) -> Any:
    for name in path.split("/"):
        tree = tree.get(name) if tree else None
    return tree
