"""Names of layers: the maps written out, and each array of a net named once."""

import jax
import jax.numpy as jnp
import pytest

from kdjax.core import InputError
from kdjax.models import CLASSIFIERS
from kdjax.models.pretrained.names import layers_of

MAPPED = [name for name in CLASSIFIERS if name not in ("conv_net", "projected", "branched", "shrunk")]


def params_of(name):
    options = {"wrn": {"depth": 10, "width": 2}, "vit": {"patch": 4, "width": 8, "depth": 11, "heads": 2, "distillation": True}}
    net = CLASSIFIERS[name](classes=3, **options.get(name, {}))
    return jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))[0]


@pytest.mark.parametrize("name", MAPPED)
def test_every_layer_has_one_name(name):
    params = params_of(name)
    theirs, ours = zip(*layers_of(name, params), strict=True)
    leaves = [[k.key for k in path] for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    paths = {"/".join(path[:-1] or path) for path in leaves}  # a parameter in no layer stands for itself
    assert len(set(theirs)) == len(theirs) == len(paths) and set(ours) == paths
    first = {"vgg": "stem_conv1", "vit": "embed", "deit": "embed", "lenet": "stage1_conv", "lenet5": "stage1_conv"}.get(
        name.rstrip("0123456789").split("_")[0], "conv"
    )
    last = "classifier_distillation" if "distillation_token" in params else "classifier"
    assert ours[0] == first and ours[-1] == last


WRITTEN_OUT = {
    "resnet20": {"conv1": "conv", "layer3.2.bn2": "stage3_block3/bn2", "layer2.0.downsample.0": "stage2_block1/shortcut_conv"},
    "resnet50": {
        "layer1.0.downsample.1": "stage1_block1/shortcut_bn",
        "layer4.2.conv3": "stage4_block3/conv3",
        "fc": "classifier",
    },
    "wrn_40_2": {
        "block1.layer.0.convShortcut": "stage1_block1/shortcut_conv",
        "block3.layer.5.conv2": "stage3_block6/conv2",
        "bn1": "bn",
    },
    "mobilenet_v2": {
        "features.0.0": "conv",
        "features.1.conv.0.0": "stage1_block1/conv2",
        "features.1.conv.2": "stage1_block1/bn3",
        "features.2.conv.0.0": "stage1_block2/conv1",
        "features.17.conv.3": "stage4_block4/bn3",
        "features.18.0": "head_conv",
        "classifier.1": "classifier",
    },
    "vit": {
        "cls_token": "class_token",
        "dist_token": "distillation_token",
        "pos_embed": "positions",
        "patch_embed.proj": "embed",
        "blocks.0.attn.qkv": "block1/qkv",
        "blocks.9.mlp.fc2": "block10/fc2",
        "blocks.10.norm2": "block11/norm2",
        "head_dist": "classifier_distillation",
    },
    "mobilenet_v2_half": {
        "conv1.0": "conv",
        "blocks.0.0.conv.0": "stage1_block1/conv1",
        "blocks.4.2.conv.7": "stage3_block7/bn3",
        "blocks.6.0.conv.3": "stage4_block4/conv2",
        "conv2.1": "head_bn",
        "classifier.0": "classifier",
    },
    "shufflenet_v1": {"layer2.7.bn3": "stage2_block8/bn3", "bn1": "bn", "linear": "classifier"},
    "shufflenet_v2": {"layer1.0.conv5": "stage1_block1/conv5", "conv2": "head_conv", "bn2": "head_bn"},
    "lenet5": {"conv1": "stage1_conv", "conv3": "stage3_conv", "fc1": "hidden", "fc2": "classifier"},
    "vgg8": {"block0.0": "stem_conv1", "block4.1": "stage4_bn1"},
    "vgg19": {"block0.3": "stem_conv2", "block4.9": "stage4_conv4", "block4.10": "stage4_bn4", "classifier": "classifier"},
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_names_written_out(name):
    found = dict(layers_of(name, params_of(name)))
    assert {k: found.get(k) for k in WRITTEN_OUT[name]} == WRITTEN_OUT[name]


def test_more_than_nine_blocks_are_in_order():
    order = [ours for _, ours in layers_of("resnet110", params_of("resnet110")) if ours.startswith("stage1")]
    assert order[-1] == "stage1_block18/bn2" and order[0] == "stage1_block1/conv1"


def test_a_net_without_a_map_is_refused():
    with pytest.raises(InputError, match="PyTorch names of net 'conv_net' is not known; accepted: "):
        layers_of("conv_net", {})
