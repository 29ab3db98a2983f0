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
CIFAR = (
    "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4", "resnet32x4",
    "wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2",
)  # fmt: skip
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
    """`[2, H, W, 3]`; the large ones have odd and even sides, where a wrong padding shows, and numbers beyond the 6 of ReLU6."""
    sides, scale = ((32, 32), 1) if name in CIFAR else ((71, 64), 8)
    return (scale * (np.random.default_rng(7).random((2, *sides, 3)) - 0.5)).astype(np.float32)


def kept(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is stored of taps `[B, H, W, C]` or `[B, C]`."""
    found = {}
    for tap, x in maps.items():
        x = np.asarray(x, np.float64)
        found[tap] = (x.mean((1, 2)) if x.ndim == 4 else x).astype(np.float32)
        if x.ndim == 4:
            found[f"{tap}_map"] = x[0, :, :, 0].astype(np.float32)
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
    net = _fill(models.model_dict[name](num_classes=CLASSES))
    (stem, *stages, pooled), logits = net(x.clone(), is_feat=True)
    (_, *preacts, _), _ = net(x.clone(), is_feat=True, preact=True)
    maps = {"stem": stem, "pooled": pooled, "logits": logits}
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


def main(checkout: str) -> None:
    """Writes all files beside this one."""
    import torch

    sys.path.insert(0, checkout)
    import models

    for name in (*CIFAR, *IMAGENET):
        x = torch.from_numpy(images(name)).permute(0, 3, 1, 2).double()
        maps = _cifar(name, models, x) if name in CIFAR else _imagenet(name, x)
        np.savez_compressed(HERE / f"{name}.npz", **kept(maps))
        print(name, {tap: (x.shape, float(np.abs(x).max())) for tap, x in maps.items()})
    _checkpoints()


if __name__ == "__main__":
    main(*sys.argv[1:])
