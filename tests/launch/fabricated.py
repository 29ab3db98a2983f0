"""Run folders made up for tests of what reads them: no training."""

import json

import numpy as np

OPTIMISER = {"name": "sgd", "learning_rate": 0.2, "schedule": "cosine", "drops": [], "warmup_epochs": 0.0, "momentum": 0.9}
CONFIG = {
    "seed": 0, "seeds": 3, "seeds_share": "batch", "members": "auto", "parallel": "jit", "devices": 0, "precision": "float32",
    "select": "last", "evaluate_epochs": 1, "save_epochs": 1,
    "data": {"source": "npz:/somewhere/x.npz", "image_size": 0, "val_fraction": 0.1, "seed": 0, "batch": 64, "augment": "none"},
    "labels_per_class": 20, "teacher": "",
    "teacher_training": {"net": {"name": "conv_net", "widths": [32, 64]}, "epochs": 2, "micro": 1, "optimiser": OPTIMISER},
    "student_training": {"net": {"name": "conv_net", "widths": [8, 16]}, "epochs": 4, "micro": 1, "optimiser": OPTIMISER},
    "smoothing": 0.0, "method": {"name": "kd", "temperature": 4.0, "weight": 0.9},
}  # fmt: skip
ALONE, STUDENT = (90.0, 91.0, 92.0), (93.0, 93.5, 95.0)


def write_run(folder, results=None, *, seeds=(0, 1, 2), curve="val_accuracy", points=None, about=None, summary=None, **changed):
    """Writes config.json, summary.json and metrics.jsonl of a finished run.

    Args:
      folder: where.
      results: `stage/measure` -> values; default a student alone and one distilled.
      seeds: of the run.
      curve: the measure of its curves, which rise to the third of four epochs and then fall by one.
      points: of a sweep, by stage.
      about: what else config.json holds.
      summary: what else summary.json holds.
      **changed: fields of the config by name, `__` for the dot.
    """
    config = json.loads(json.dumps(CONFIG))
    for path, value in {**changed, "seed": seeds[0], "seeds": len(seeds)}.items():
        *above, name = path.split("__")
        node = config
        for part in above:
            node = node.setdefault(part, {})
        node[name] = value
    results = results or {"student_alone/test_accuracy": ALONE, "student/test_accuracy": STUDENT}
    stages = {key.partition("/")[0]: len(values) for key, values in results.items()}
    cells = {k: {"mean": _mean(v), "std": 0.0, "values": list(v)} for k, v in results.items()}
    data = {"source": config["data"]["source"], "digest": "ab" * 32, "names": ["cat", "dog"], "shape": [8, 8, 1], "crop": 0}
    told = {"train_images": 900, "validation_images": 100, "test_images": 450}
    lines = [
        {"stage": s, "step": 18 * e, "epoch": 6 * e, "loss": [0.5 / e] * n, curve: [80.0 + (e if e < 4 else 2)] * n}
        for s, n in stages.items()
        for e in (1, 2, 3, 4)
    ]
    _write(folder, "config.json", {
        "file": "quickstart.py", "variant": "", "config": config, "stages": list(stages), "data": data, "git": "c0ffee" * 6,
        "platform": {"device": "cpu", "devices": 1, "jax": "0.10.2"}, **(about or {}),
    })  # fmt: skip
    _write(folder, "summary.json", {
        "method": config["method"]["name"], "data": config["data"]["source"], "steps": dict.fromkeys(stages, 72),
        "seeds": list(seeds), "protocol": told, "results": cells, "points": points or {}, "wall_seconds": 1.0, "device": "cpu",
        "comparisons": [{"result": "student/test_accuracy", "baseline": "student_alone/test_accuracy"}], **(summary or {}),
    })  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _write(folder, name, value):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))


def _mean(values):
    return None if None in values else float(np.mean(values))
