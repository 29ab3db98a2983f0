"""Backbones with named taps, heads, dense nets, generators and critics, as functions that return a `Net`."""

from collections.abc import Callable

from kdjax.core.net import Net
from kdjax.models.bifpn import bifpn
from kdjax.models.build import DTYPES, LARGEST_SIZE, build, input_shape, is_generator
from kdjax.models.concatenation import concatenated
from kdjax.models.connector import Connector
from kdjax.models.conv import canonical_convolution, conv2d, convolution, fan_in_bias, fan_in_uniform, fan_out_uniform, he_normal
from kdjax.models.conv_net import ConvNet, conv_net
from kdjax.models.critic import Critic, critic
from kdjax.models.dcgan import DCGAN, dcgan
from kdjax.models.dcgan_critic import DCGANCritic, dcgan_critic
from kdjax.models.deit import deit_base, deit_small, deit_tiny
from kdjax.models.depthwise import depthwise_convolution
from kdjax.models.drop_path import DropPath, drop_path
from kdjax.models.ensemble import ensemble, normalised_weights, pooled_together
from kdjax.models.exit_heads import BottleneckExit, SeparableExit
from kdjax.models.fcn import FCN, fcn
from kdjax.models.fusion import DualAttention, MultiScale, fusion
from kdjax.models.gate import gate
from kdjax.models.generator import Generator, generator
from kdjax.models.heads import LinearHead, MLPHead, PrototypeHead, linear_head, mlp_head, pooled_and_logits, prototype_head
from kdjax.models.inception import inception
from kdjax.models.latents import latents_of
from kdjax.models.lenet import LeNet, lenet5, lenet5_half
from kdjax.models.mixing import mixing_inside
from kdjax.models.mobilenet_v2 import InvertedResidual, MobileNetV2, mobilenet_v2, mobilenet_v2_half
from kdjax.models.net_with_heads import attach, branched
from kdjax.models.norm import batch_norm
from kdjax.models.patch_decoder import PatchDecoder, patch_decoder
from kdjax.models.peer_queries import peer_queries
from kdjax.models.positions import resize_positions, sincos_positions
from kdjax.models.preact_resnet import PreactResNet, preact_resnet18
from kdjax.models.pretrained import WeightFile, from_pytorch, read_weights, to_pytorch, write_weights
from kdjax.models.projection import Projector, projected
from kdjax.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50
from kdjax.models.resnet_cifar import (
    resnet8,
    resnet8x4,
    resnet14,
    resnet20,
    resnet32,
    resnet32x4,
    resnet44,
    resnet56,
    resnet110,
)
from kdjax.models.shufflenet_v1 import ShuffleNetV1, ShuffleUnit, shufflenet_v1
from kdjax.models.shufflenet_v2 import DownUnit, ShuffleNetV2, SplitUnit, shufflenet_v2
from kdjax.models.size import parameter_count
from kdjax.models.smaller_images import shrink, shrunk
from kdjax.models.spectral import SpectralNorm
from kdjax.models.stage_classifiers import branches, bridge, exits
from kdjax.models.stage_families import ConvBlock
from kdjax.models.stylegan2 import StyleGAN2, stylegan2
from kdjax.models.stylegan2_critic import StyleGAN2Critic, stylegan2_critic
from kdjax.models.stylegan2_layers import EqualConv, EqualDense
from kdjax.models.taps import block_names, last_map, last_stage, stage_names
from kdjax.models.text_transformer import TextTransformer, bidirectional_transformer, causal_transformer
from kdjax.models.transformer import TransformerBlock, VisionTransformer
from kdjax.models.transposed_conv import DoublingConv, doubling_convolution
from kdjax.models.trunk import trunk_names
from kdjax.models.upscale import Upscaler, pixel_shuffle
from kdjax.models.vgg import VGG, vgg8, vgg11, vgg13, vgg16, vgg19
from kdjax.models.vit import vit, vit_base, vit_small, vit_tiny
from kdjax.models.wide_resnet import PreactBlock, WideResNet, wrn, wrn_16_1, wrn_16_2, wrn_28_10, wrn_40_1, wrn_40_2

# Nets by name, for configs and for loading a saved run. Image classifiers each take `classes`, `dtype` and `axis_name`.
CLASSIFIERS: dict[str, Callable[..., Net]] = {
    "conv_net": conv_net,
    "lenet5": lenet5,
    "lenet5_half": lenet5_half,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v2_half": mobilenet_v2_half,
    "preact_resnet18": preact_resnet18,
    "projected": projected,
    "resnet8": resnet8,
    "resnet14": resnet14,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "resnet8x4": resnet8x4,
    "resnet32x4": resnet32x4,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "shufflenet_v1": shufflenet_v1,
    "shufflenet_v2": shufflenet_v2,
    "vgg8": vgg8,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "wrn": wrn,
    "wrn_16_1": wrn_16_1,
    "wrn_16_2": wrn_16_2,
    "wrn_28_10": wrn_28_10,
    "wrn_40_1": wrn_40_1,
    "wrn_40_2": wrn_40_2,
    "vit": vit,
    "vit_tiny": vit_tiny,
    "vit_small": vit_small,
    "vit_base": vit_base,
    "deit_tiny": deit_tiny,
    "deit_small": deit_small,
    "deit_base": deit_base,
    "branched": branched,
    "shrunk": shrunk,
}
DENSE: dict[str, Callable[..., Net]] = {"fcn": fcn}  # a prediction for every pixel
HEADS: dict[str, Callable[..., Net]] = {"linear_head": linear_head, "mlp_head": mlp_head, "prototype_head": prototype_head}
# Of latents, whose length a specification holds, `latent`.
GENERATORS: dict[str, Callable[..., Net]] = {"dcgan": dcgan, "generator": generator, "stylegan2": stylegan2}
CRITICS: dict[str, Callable[..., Net]] = {"critic": critic, "dcgan_critic": dcgan_critic, "stylegan2_critic": stylegan2_critic}
TEXT: dict[str, Callable[..., Net]] = {  # of tokens
    "bidirectional_transformer": bidirectional_transformer,
    "causal_transformer": causal_transformer,
}
NETS: dict[str, Callable[..., Net]] = CLASSIFIERS | DENSE | HEADS | GENERATORS | CRITICS | TEXT

__all__ = [
    "CLASSIFIERS",
    "CRITICS",
    "DCGAN",
    "DENSE",
    "DTYPES",
    "FCN",
    "GENERATORS",
    "HEADS",
    "LARGEST_SIZE",
    "NETS",
    "TEXT",
    "VGG",
    "BasicBlock",
    "Bottleneck",
    "BottleneckExit",
    "Connector",
    "ConvBlock",
    "ConvNet",
    "Critic",
    "DCGANCritic",
    "DoublingConv",
    "DownUnit",
    "DropPath",
    "DualAttention",
    "EqualConv",
    "EqualDense",
    "Generator",
    "InvertedResidual",
    "LeNet",
    "LinearHead",
    "MLPHead",
    "MobileNetV2",
    "MultiScale",
    "PatchDecoder",
    "PreactBlock",
    "PreactResNet",
    "Projector",
    "PrototypeHead",
    "ResNet",
    "SeparableExit",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "ShuffleUnit",
    "SpectralNorm",
    "SplitUnit",
    "StyleGAN2",
    "StyleGAN2Critic",
    "TextTransformer",
    "TransformerBlock",
    "Upscaler",
    "VisionTransformer",
    "WeightFile",
    "WideResNet",
    "attach",
    "batch_norm",
    "bidirectional_transformer",
    "bifpn",
    "block_names",
    "branched",
    "branches",
    "bridge",
    "build",
    "canonical_convolution",
    "causal_transformer",
    "concatenated",
    "conv2d",
    "conv_net",
    "convolution",
    "critic",
    "dcgan",
    "dcgan_critic",
    "deit_base",
    "deit_small",
    "deit_tiny",
    "depthwise_convolution",
    "doubling_convolution",
    "drop_path",
    "ensemble",
    "exits",
    "fan_in_bias",
    "fan_in_uniform",
    "fan_out_uniform",
    "fcn",
    "from_pytorch",
    "fusion",
    "gate",
    "generator",
    "he_normal",
    "inception",
    "input_shape",
    "is_generator",
    "last_map",
    "last_stage",
    "latents_of",
    "lenet5",
    "lenet5_half",
    "linear_head",
    "mixing_inside",
    "mlp_head",
    "mobilenet_v2",
    "mobilenet_v2_half",
    "normalised_weights",
    "parameter_count",
    "patch_decoder",
    "peer_queries",
    "pixel_shuffle",
    "pooled_and_logits",
    "pooled_together",
    "preact_resnet18",
    "projected",
    "prototype_head",
    "read_weights",
    "resize_positions",
    "resnet8",
    "resnet8x4",
    "resnet14",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet32x4",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet110",
    "shrink",
    "shrunk",
    "shufflenet_v1",
    "shufflenet_v2",
    "sincos_positions",
    "stage_names",
    "stylegan2",
    "stylegan2_critic",
    "to_pytorch",
    "trunk_names",
    "vgg8",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vit",
    "vit_base",
    "vit_small",
    "vit_tiny",
    "write_weights",
    "wrn",
    "wrn_16_1",
    "wrn_16_2",
    "wrn_28_10",
    "wrn_40_1",
    "wrn_40_2",
]
