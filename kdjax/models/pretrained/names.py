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
_INVERTED_ALIKE = {"conv2": "0.0", "bn2": "0.1", "conv3": "1", "bn3": "2"}  # without the convolution to more channels


def layers_of(name: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The layers of a net as `(PyTorch's name, path here)`, in the order of the net.

    Args:
      name: of the net, one of `models.NETS`.
      params: of the net, for the layers that it has.

    Raises:
      InputError: for a net without a map, with those that have one.

    >>> layers_of("resnet8", {"conv": {}, "bn": {}, "stage1_block1": {"conv1": {}, "shortcut_conv": {}}, "classifier": {}})[2:4]
    [('layer1.0.conv1', 'stage1_block1/conv1'), ('layer1.0.downsample.0', 'stage1_block1/shortcut_conv')]
    """
    return [(theirs, ours) for theirs, ours in pick("PyTorch names of net", name, _MAPS)(params) if _at(params, ours) is not None]


def _resnet(params: Mapping[str, Any]) -> Layers:
    """RepDistiller's models/resnet.py; torchvision's and timm's ResNets."""
    yield from [("conv1", "conv"), ("bn1", "bn")]
    for block, stage, number in _blocks(params):
        yield from ((f"layer{stage}.{number - 1}.{theirs}", f"{block}/{ours}") for ours, theirs in _RESIDUAL.items())
    yield "fc", "classifier"


def _wrn(params: Mapping[str, Any]) -> Layers:
    """RepDistiller's models/wrn.py."""
    yield "conv1", "conv"
    for block, stage, number in _blocks(params):
        yield from ((f"block{stage}.layer.{number - 1}.{theirs}", f"{block}/{ours}") for ours, theirs in _PREACT.items())
    yield from [("bn1", "bn"), ("fc", "classifier")]


def _mobilenet_v2(params: Mapping[str, Any]) -> Layers:
    """torchvision's MobileNetV2, whose blocks are counted through all stages."""
    yield from [("features.0.0", "conv"), ("features.0.1", "bn")]
    count = 0
    for count, (block, _, _) in enumerate(_blocks(params), 1):
        inside = _INVERTED if "conv1" in params[block] else _INVERTED_ALIKE
        yield from ((f"features.{count}.conv.{theirs}", f"{block}/{ours}") for ours, theirs in inside.items())
    yield from [(f"features.{count + 1}.0", "head_conv"), (f"features.{count + 1}.1", "head_bn"), ("classifier.1", "classifier")]


_MAPS: dict[str, Callable[[Mapping[str, Any]], Layers]] = {
    **dict.fromkeys(
        (
            "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4", "resnet32x4",
            "resnet18", "resnet34", "resnet50",
        ),
        _resnet,
    ),
    **dict.fromkeys(("wrn", "wrn_16_1", "wrn_16_2", "wrn_28_10", "wrn_40_1", "wrn_40_2"), _wrn),
    "mobilenet_v2": _mobilenet_v2,
}  # fmt: skip


def _blocks(params: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """The blocks `stage<s>_block<n>` as `(name, s, n)`, in the order of the net."""
    found = [m for name in params if (m := re.fullmatch(r"stage(\d+)_block(\d+)", name))]
    return sorted(((m[0], int(m[1]), int(m[2])) for m in found), key=lambda block: block[1:])


def _at(tree: Any, path: str) -> Any:
    for name in path.split("/"):
        tree = tree.get(name) if tree else None
    return tree
