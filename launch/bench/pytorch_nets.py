"""The networks of the PyTorch steps, built without a class of ours so that PyTorch is only imported where it is asked for."""

import re
from typing import Any


class Nets:
    """Makes networks of images of 32 pixels.

    Args:
      torch: the package.
    """

    def __init__(self, torch: Any):
        self._nn, self._functional = torch.nn, torch.nn.functional

    def knows(self, name: str) -> bool:
        """Whether `classifier` makes it."""
        return name in ("resnet18", "resnet34") or re.fullmatch(r"resnet\d+(x4)?", name) is not None

    def classifier(self, name: str, classes: int) -> Any:
        """A residual net with a 3x3 stem; without classes it ends in the pooled features."""
        if name in ("resnet18", "resnet34"):
            return self._resnet(64, (64, 128, 256, 512), (2, 2, 2, 2) if name == "resnet18" else (3, 4, 6, 3), classes)
        depth, wide = int(re.findall(r"\d+", name)[0]), name.endswith("x4")
        widths = (64, 128, 256) if wide else (16, 32, 64)
        return self._resnet(32 if wide else 16, widths, ((depth - 2) // 6,) * 3, classes)

    def mlp(self, width: int, hidden: int, out: int) -> Any:
        """Two layers with batch norm between."""
        nn = self._nn
        return nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def generator(self, latent: int = 256, features: int = 64) -> Any:
        """That of DAFL, for images of 32 pixels."""
        nn, wide = self._nn, 2 * features

        def up(inside: int, outside: int) -> list:
            return [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(inside, outside, 3, 1, 1, bias=False),
                nn.BatchNorm2d(outside),
                nn.LeakyReLU(0.2),
            ]

        return nn.Sequential(
            nn.Linear(latent, wide * 64), nn.Unflatten(1, (wide, 8, 8)), nn.BatchNorm2d(wide), *up(wide, wide), *up(wide, features),
            nn.Conv2d(features, 3, 3, 1, 1), nn.Sigmoid(), nn.BatchNorm2d(3, affine=False),
        )  # fmt: skip

    def dict(self, **nets: Any) -> Any:
        """Several as one."""
        return self._nn.ModuleDict(nets)

    def _resnet(self, stem: int, widths: tuple[int, ...], depths: tuple[int, ...], classes: int) -> Any:
        nn = self._nn
        layers, before = [*self._conv(3, stem, 3, 1), nn.ReLU()], stem
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                layers.append(self._block(before, width, 2 if stage and not block else 1))
                before = width
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes) if classes else nn.Identity()
        )

    def _conv(self, before: int, width: int, kernel: int, stride: int) -> list:
        nn = self._nn
        return [nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width)]

    def _block(self, before: int, width: int, stride: int) -> Any:
        nn, relu = self._nn, self._functional.relu

        class Block(nn.Module):
            def __init__(self, inside: Any, short: Any):
                super().__init__()
                self.inside, self.short = inside, short

            def forward(self, x: Any) -> Any:
                return relu(self.inside(x) + self.short(x))

        inside = nn.Sequential(*self._conv(before, width, 3, stride), nn.ReLU(), *self._conv(width, width, 3, 1))
        same = stride == 1 and before == width
        return Block(inside, nn.Identity() if same else nn.Sequential(*self._conv(before, width, 1, stride)))
