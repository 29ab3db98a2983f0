"""Makes the golden activations of PyTorch nets that `tests/models/test_convert.py` compares kdjax's nets with.

    pip install -e ".[parity]" && python tests/golden/parity/make.py <a checkout of github.com/HobbitLong/RepDistiller>

Weights and images come from a formula, so none are stored. Each net runs in float64; of the logits and of every stage are kept the
mean over positions and one channel of the first image. Also made: small checkpoints of both forms of `torch.save`, and one of each
whose pickle would run a command.
"""

import sys
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
CLASSES = 10
CIFAR = {  # file -> the net's name in RepDistiller; `resnet50_cifar` is resnet50 here with stem="cifar"
    **{
        name: name for name in (
            "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4", "resnet32x4",
            "wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2", "vgg8", "vgg11", "vgg13", "vgg16", "vgg19",
        )
    },
    "resnet50_cifar": "ResNet50", "mobilenet_v2_half": "MobileNetV2", "shufflenet_v1": "ShuffleV1", "shufflenet_v2": "ShuffleV2",
}  # fmt: skip
BLOCKS = {  # of some of them the tap of a block and its layer there
    "resnet14": ("stage2_block1", "layer2.0"),
    "resnet50_cifar": ("stage3_block4", "layer3.3"),
    "wrn_16_1": ("stage2_block1", "block2.layer.0"),
    "mobilenet_v2_half": ("stage3_block6", "blocks.4.1"),
    "shufflenet_v1": ("stage2_block5", "layer2.4"),
    "shufflenet_v2": ("stage2_block1", "layer2.0"),
}
STAGES = {"stem": "maxpool", "stage1": "layer1", "stage2": "layer2", "stage3": "layer3", "stage4": "layer4"}
IMAGENET = {  # tap -> layer of torchvision's net
    "resnet18": STAGES,
    "resnet34": STAGES,
    "resnet50": STAGES,
    "mobilenet_v2": {
        "stem": "features.0", "stage1": "features.3", "stage2": "features.6", "stage3": "features.13", "stage4": "features.17",
        "head": "features.18",
    },
}  # fmt: skip
SMALL_DEIT = {"patch": 4, "width": 8, "depth": 1, "heads": 2, "distillation": True}  # of checkpoint_deit.pth, 8x8 images, 5 classes
TRANSFORMERS = {  # file -> net here, its options, height and width of the images; two to their true size
    "vit_cut": ("vit", {"patch": 4, "width": 48, "depth": 3, "heads": 3}, (32, 24)),
    "vit_mean": ("vit", {"patch": 4, "width": 48, "depth": 2, "heads": 4, "pool": "mean"}, (16, 24)),
    "deit_cut": ("vit", {"patch": 4, "width": 48, "depth": 3, "heads": 3, "distillation": True}, (32, 24)),
    "vit_tiny": ("vit_tiny", {}, (224, 224)),
    "deit_tiny": ("deit_tiny", {}, (224, 224)),
}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a `state_dict` by its name and shape: kernels of He's scale, batch norms far from the identity."""
    u = np.random.default_rng(zlib.crc32(name.encode())).random(shape)
    if len(shape) > 1:
        return ((u - 0.5) * np.sqrt(24 / np.prod(shape[1:]))).astype(np.float32)
    if name.endswith("running_var"):
        return (0.5 + u).astype(np.float32)
    if name.endswith("weight"):  # larger in front of ReLU6, so that it cuts off
        return ((0.5 + u) * (1.0 if name.endswith((".0.1.weight", ".1.1.weight")) else 0.6)).astype(np.float32)
    return ((u - 0.5) * 0.4).astype(np.float32)


def images(name: str) -> np.ndarray:
    """`[2, H, W, 3]`; those of ImageNet have odd and even sides, where a wrong padding shows; some exceed the 6 of ReLU6."""
    sides = (32, 32) if name in CIFAR else TRANSFORMERS[name][2] if name in TRANSFORMERS else (71, 64)
    if name == "inception":  # which sees images in [0, 1], of any side
        return np.random.default_rng(7).random((2, *sides, 3)).astype(np.float32)
    scale = 8 if name in (*IMAGENET, "mobilenet_v2_half") else 2 if name in TRANSFORMERS else 1
    return (scale * (np.random.default_rng(7).random((2, *sides, 3)) - 0.5)).astype(np.float32)


def kept(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is stored of taps `[B, H, W, C]`, `[B, N, C]` or `[B, C]`."""
    found = {}
    for tap, x in maps.items():
        x = np.asarray(x, np.float64)
        found[tap] = x.mean(tuple(range(1, x.ndim - 1))).astype(np.float32)
        if x.ndim > 2:
            found[f"{tap}_map"] = x[0, ..., 0].astype(np.float32)
    return found


def _fill(net):
    import torch

    state = {k: torch.from_numpy(weight(k, tuple(x.shape))) for k, x in net.state_dict().items() if x.ndim}
    missing = net.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and all(k.endswith("num_batches_tracked") for k in missing.missing_keys)
    return net.double().eval()


def _numpy(x):
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).detach().numpy()


def _cifar(name, models, x):
    net, blocks = _fill(models.model_dict[CIFAR[name]](num_classes=CLASSES)), {}
    if name in BLOCKS:
        tap, layer = BLOCKS[name]
        net.get_submodule(layer).register_forward_hook(lambda _, __, out: blocks.update({tap: out.clone()}))
    (stem, *stages, pooled), logits = net(x.clone(), is_feat=True)
    (_, *preacts, _), _ = net(x.clone(), is_feat=True, preact=True)
    maps = {"stem": stem, "pooled": pooled, "logits": logits} | blocks
    maps |= {f"stage{i}": s for i, s in enumerate(stages, 1)} | {f"stage{i}_preact": s for i, s in enumerate(preacts, 1)}
    return {tap: _numpy(s) for tap, s in maps.items()}


def _imagenet(name, x):
    import timm
    import torch
    import torchvision

    net, maps = _fill(torchvision.models.get_model(name, num_classes=CLASSES)), {}
    for tap, layer in IMAGENET[name].items():
        net.get_submodule(layer).register_forward_hook(lambda _, __, out, tap=tap: maps.update({tap: _numpy(out)}))
    logits = net(x)
    if name in timm.list_models() and name.startswith("resnet"):
        torch.testing.assert_close(_fill(timm.create_model(name, num_classes=CLASSES))(x), logits)
    return maps | {"logits": _numpy(logits)}


def _inception(x):
    from unittest.mock import patch

    from pytorch_fid import inception

    def blank(*_, **__):  # in the place of weights that would be fetched
        return inception._inception_v3(num_classes=1008, aux_logits=False, weights=None).state_dict()

    with patch.object(inception, "load_state_dict_from_url", blank):
        whole, found = _fill(inception.fid_inception_v3()), {}
    with patch.object(inception, "fid_inception_v3", lambda: whole):
        net = inception.InceptionV3([1, 2, 3]).double().eval()
    for tap, layer in {"stage1": whole.Mixed_5d, "stage3": whole.Mixed_7c}.items():
        layer.register_forward_hook(lambda _, __, out, tap=tap: found.update({tap: out}))
    stem, stage2, pooled = net(x)
    maps = {"stem": stem, "stage1": found["stage1"], "stage2": stage2, "stage3": found["stage3"], "pooled": pooled[:, :, 0, 0]}
    return {tap: _numpy(s) for tap, s in maps.items()} | {"logits": _numpy(whole.fc(maps["pooled"]))}


def _vision_transformer(side, classes, *, patch, width, depth, heads, distillation=False, pool="cls"):
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    make = VisionTransformerDistilled if distillation else VisionTransformer
    more = {"global_pool": "avg", "fc_norm": False} if pool == "mean" else {}
    return make(side, patch, num_classes=classes, embed_dim=width, depth=depth, num_heads=heads, **more)


def _transformer(name, x):
    import timm
    import torch

    kind, options, side = TRANSFORMERS[name]
    if kind == "vit":
        net = _vision_transformer(side, CLASSES, **options)
    else:
        long = {"vit_tiny": "vit_tiny_patch16_224", "deit_tiny": "deit_tiny_distilled_patch16_224"}[name]
        net = timm.create_model(long, num_classes=CLASSES)
    net, maps = _fill(net), {}

    def keep(tap):
        return lambda _, __, out: maps.update({tap: out.detach().numpy()})

    def heads(tap, count):  # in the order of timm's own reshape
        def split(_, __, out):
            parts = out.detach().reshape(*out.shape[:2], 3, count, -1).permute(2, 0, 3, 1, 4).numpy()
            maps.update({f"{tap}_{what}": part for what, part in zip(("query", "key", "value"), parts, strict=True)})

        return split

    net.norm_pre.register_forward_hook(keep("tokens"))
    net.norm.register_forward_hook(keep("last"))
    for number in (1, len(net.blocks)):
        block, tap = net.blocks[number - 1], f"block{number}"
        block.register_forward_hook(keep(tap))
        block.attn.qkv.register_forward_hook(heads(tap, block.attn.num_heads))
    maps["logits"] = net(x).detach().numpy()
    last, extra = maps["last"], net.num_prefix_tokens
    maps |= {"cls": last[:, 0], "patches": last[:, extra:]}
    if extra == 2:
        maps["distillation"] = last[:, 1]
        net.set_distilled_training(True)
        net.train()  # no layer here acts otherwise in training
        maps["logits_class"], maps["logits_distillation"] = (z.detach().numpy() for z in net(x))
        torch.testing.assert_close(torch.from_numpy(maps["logits"]), net.eval()(x))
    return {tap: x for tap, x in maps.items() if tap != "last"}


def _positions():
    """A table for 8x8 patches as timm brings it to larger and smaller grids."""
    import torch
    from timm.layers import resample_abs_pos_embed

    table = torch.from_numpy(weight("pos_embed", (1, 66, 8))).double()
    sizes = {f"{h}x{w}": [h, w] for h, w in ((12, 14), (5, 3))}
    found = {k: resample_abs_pos_embed(table, size, num_prefix_tokens=2).numpy() for k, size in sizes.items()}
    np.savez_compressed(HERE / "positions.npz", **{k: x.astype(np.float32) for k, x in found.items()})


def _checkpoints():
    """A convolution and its batch norm, as training scripts save them."""
    import argparse
    import os

    import torch

    class Payload:
        def __reduce__(self):
            return os.system, ("touch ran",)

    state = {k: torch.from_numpy(weight(k, shape)) for k, shape in {"conv1.weight": (2, 3, 3, 3), "bn1.bias": (2,)}.items()}
    state["bn1.num_batches_tracked"] = torch.tensor(5)
    table = torch.arange(12.0).reshape(3, 4)
    state |= {"transposed": table.t(), "shared": table[1:, ::2], "half": table.half(), "brain": table.bfloat16()}
    opt = argparse.Namespace(model="resnet8", learning_rate=0.05, device=torch.device("cpu"))
    for form, new in (("zip", True), ("legacy", False)):
        file = {"opt": opt, "epoch": 240, "best_acc": np.float64(72.5), "model": {f"module.{k}": x for k, x in state.items()}}
        torch.save(file, HERE / f"checkpoint_{form}.pth", _use_new_zipfile_serialization=new)
        torch.save({"model": state, "opt": Payload()}, HERE / f"payload_{form}.pth", _use_new_zipfile_serialization=new)
    deit = _fill(_vision_transformer(8, 5, **SMALL_DEIT)).half()
    torch.save({"model": deit.state_dict(), "epoch": 299}, HERE / "checkpoint_deit.pth")


def main(checkout: str) -> None:
    """Writes all files beside this one."""
    import torch

    sys.path.insert(0, checkout)
    import models

    for name in (*CIFAR, *IMAGENET, *TRANSFORMERS, "inception"):
        x = torch.from_numpy(images(name)).permute(0, 3, 1, 2).double()
        make = _imagenet if name in IMAGENET else _transformer if name in TRANSFORMERS else lambda _, x: _inception(x)
        maps = _cifar(name, models, x) if name in CIFAR else make(name, x)
        np.savez_compressed(HERE / f"{name}.npz", **kept(maps))
        print(name, {tap: (x.shape, float(np.abs(x).max())) for tap, x in maps.items()})
    _positions()
    _checkpoints()


if __name__ == "__main__":
    main(*sys.argv[1:])
