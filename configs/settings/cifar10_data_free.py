"""CIFAR-10 without data, as the benchmark of Fang et al. trains on it and as authors do who publish numbers beside its.

ResNet-34 teaches ResNet-18, with stems for 32 pixels; an epoch has 400 steps of the student on batches of 256. Published, top-1 of
the best epoch: adi 93.26, cmi 94.84, cudfkd 95.28, dafl 92.22, dfad 93.3, dfq 94.61, fast_dfkd 93.63, zskt 93.32, of a teacher with
95.70; a student with data has 95.20. The benchmark's rate of pixels is not known here: that of DeepInversion's authors stands in.
The two phases of `cmi`, 50,000 images before the student learns in 40 rounds, are `--config.method.warm_up=195
--config.method.one_hot=0.5 --config.method.student_steps=2000 --config.student_training.epochs=235`, with the optimiser's
`schedule=steps` and `drops=(0.625,0.75,0.875)` of the rounds in which it learns. `fast_dfkd` has five steps a round;
`dafl` and `zskt` are those of the benchmark, `dfad` learns in its epochs.
"""

from typing import Any

from kdjax.experiment import sections


def generator(rate: float = 1e-3, *, b1: float = 0.5, b2: float = 0.999, **changed: Any) -> dict:
    """The benchmark's, with Adam at a constant rate."""
    own = {"features": 64, "widths": (), "last": "sigmoid", "init": "fan_in"} | changed
    return own | {"optimiser": sections.adam_section(rate, kind="constant", b1=b1, b2=b2)}


COMMON: dict[str, Any] = {
    "data": {"source": "npz:cifar10.npz"}, "batch": 256, "teacher": "resnet34", "student": "resnet18", "epochs": 200,
    "optimiser": sections.sgd_section(0.1), "generator": generator(), "method": {}, "net": {}, "teacher_net": {},
    "student_steps_per_epoch": 400, "teacher_epochs": 200, "seeds": 1,
}  # fmt: skip

SETTINGS: dict[str, dict[str, Any]] = {
    "adi": {"method": {"adversarial": 1.0}},
    "cmi": {"generator": generator(init="normal")},
    "cudfkd": {
        "epochs": 250, "batch": 512, "optimiser": sections.sgd_section(0.1, weight_decay=1e-4),
        "generator": generator(b1=0.9, b2=0.99, widths=(256, 128, 64), init="normal"),
    },
    "dafl": {},
    "deep_inversion": {},
    "dfad": {"method": {"student_steps": 5}},
    "dfq": {},
    "fast_dfkd": {
        "epochs": 220, "optimiser": sections.sgd_section(0.2, weight_decay=1e-4), "generator": generator(3e-3),
        "method": {"one_hot": 0.5, "adversarial": 1.33},
    },
    "zskt": {"method": {"attention": 0.0, "student_steps": 5, "latent": 256}},
}  # fmt: skip
