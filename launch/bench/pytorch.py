"""The same steps in PyTorch, where it is installed: distillation, BYOL, and a student without data."""

import copy
import importlib
from collections.abc import Callable
from typing import Any

from kdjax.core import InputError, pick
from kdjax.core.extra import extra
from launch.bench.pytorch_nets import Nets
from launch.bench.subject import Subject

VARIANTS = ("eager", "amp", "compile")  # float32; bfloat16 where autocast has it, channels last; the same, compiled


def load_torch() -> Any:
    """PyTorch, or one line that says how to get it."""
    with extra("parity"):
        return importlib.import_module("torch")


def peer_step(peer: str, batch: int, variant: str, student: str = "", teacher: str = "") -> Subject:
    """One step on images that lie on the device already.

    Args:
      peer: `"kd"` (T = 4, 0.1 of the labels, 0.9 of the teacher; SGD), `"byol"` (heads of 4,096 and 256; two views), or
        `"data_free"` (a generator's step and five of the student).
      batch: images of a step.
      variant: of `VARIANTS`.
      student: a net of `Nets`; of `"kd"`.
      teacher: the same.

    Raises:
      InputError: where PyTorch is not installed, and for nets that are not here.
    """
    torch = load_torch()
    makers: dict[str, Callable[..., Callable]] = {"kd": _kd, "byol": _byol, "data_free": _data_free}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(0)
    step = pick("peer", peer, makers)(_Bench(torch, device, variant), batch, student, teacher)

    def call() -> Any:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    call()
    return Subject(call, 1, batch)


class _Bench:
    """What all steps share: where they run and how."""

    def __init__(self, torch: Any, device: Any, variant: str):
        self.torch, self.device = torch, device
        self.half, self.compiled = variant != "eager", variant == "compile"
        self.nets, self.functional = Nets(torch), torch.nn.functional

    def place(self, x: Any) -> Any:
        x = x.to(self.device)
        return x.to(memory_format=self.torch.channels_last) if self.half else x

    def frozen(self, net: Any) -> Any:
        return self.place(net).requires_grad_(False)

    def images(self, batch: int) -> Any:
        return self.place(self.torch.randn(batch, 3, 32, 32))

    def soft(self, student: Any, teacher: Any, temperature: float) -> Any:
        f = self.functional
        found, aim = f.log_softmax(student / temperature, 1), f.softmax(teacher / temperature, 1)
        return f.kl_div(found, aim, reduction="batchmean") * temperature**2

    def step_of(self, loss: Callable[[], Any], optimiser: Any) -> Callable[[], None]:
        def forward() -> Any:
            with self.torch.autocast(self.device.type, self.torch.bfloat16, enabled=self.half):
                return loss()

        forward = self.torch.compile(forward) if self.compiled else forward

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            forward().backward()
            optimiser.step()

        return step


def _kd(bench: _Bench, batch: int, student_name: str, teacher_name: str) -> Callable[[], None]:
    torch = bench.torch
    for name in (student_name, teacher_name):
        if not bench.nets.knows(name):
            raise InputError(f"net {name!r} is not here in PyTorch; accepted: resnet<n>, resnet<n>x4 of CIFAR")
    student, teacher = (
        bench.place(bench.nets.classifier(student_name, 100)),
        bench.frozen(bench.nets.classifier(teacher_name, 100)).eval(),
    )
    x, y = bench.images(batch), torch.randint(100, (batch,), device=bench.device)

    def loss() -> Any:
        with torch.no_grad():
            aim = teacher(x)
        found = student(x)
        return 0.1 * bench.functional.cross_entropy(found, y) + 0.9 * bench.soft(found, aim, 4.0)

    return bench.step_of(loss, torch.optim.SGD(student.parameters(), 0.05, 0.9, weight_decay=5e-4))


def _byol(bench: _Bench, batch: int, student_name: str, teacher_name: str) -> Callable[[], None]:
    torch, nets = bench.torch, bench.nets
    online = bench.place(
        nets.dict(net=nets.classifier("resnet18", 0), head=nets.mlp(512, 4096, 256), predictor=nets.mlp(256, 4096, 256))
    )
    target = bench.frozen(copy.deepcopy(nets.dict(net=online["net"], head=online["head"])))
    views = [bench.images(batch), bench.images(batch)]
    similar = bench.functional.cosine_similarity

    def loss() -> Any:
        one, two = (online["predictor"](online["head"](online["net"](view))) for view in views)
        with torch.no_grad():
            first, second = (target["head"](target["net"](view)) for view in views)
        return (4 - 2 * similar(one, second) - 2 * similar(two, first)).mean()

    inner = bench.step_of(loss, torch.optim.SGD(online.parameters(), 0.05, 0.9))
    followed = [*online["net"].parameters(), *online["head"].parameters()]
    following = [*target["net"].parameters(), *target["head"].parameters()]

    def step() -> None:
        inner()
        with torch.no_grad():
            torch._foreach_lerp_(following, followed, 0.01)

    return step


def _data_free(bench: _Bench, batch: int, student_name: str, teacher_name: str) -> Callable[[], None]:
    torch, nets, functional = bench.torch, bench.nets, bench.functional
    teacher, student = bench.frozen(nets.classifier("resnet34", 10)).eval(), bench.place(nets.classifier("resnet18", 10))
    generator = bench.place(nets.generator())

    def made() -> Any:
        return generator(torch.randn(batch, 256, device=bench.device))

    def student_loss() -> Any:
        with torch.no_grad():
            x = made()
            aim = teacher(x)
        return bench.soft(student(x), aim, 20.0)

    def generator_loss() -> Any:
        x = made()
        logits = teacher(x)
        mean = functional.softmax(logits, 1).mean(0)
        balance = (mean * mean.clamp_min(1e-6).log()).sum()
        return functional.cross_entropy(logits, logits.argmax(1)) + 20 * balance - bench.soft(student(x), logits, 1.0)

    learn = bench.step_of(student_loss, torch.optim.SGD(student.parameters(), 0.1, 0.9))
    make = bench.step_of(generator_loss, torch.optim.Adam(generator.parameters(), 1e-3))

    def step() -> None:
        make()
        for _ in range(5):
            learn()

    return step
