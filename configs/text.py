"""A byte transformer that teaches a smaller one to continue text, the docstrings of Python's own library.

    python launch/main.py --config=configs/text.py --workdir=runs/text

Each learns to tell the next byte at every position of 64, the distilled student from the labels and from the teacher's prediction
there. `method=dkd` or `method=lskd` in place of `kd`; `--config.data.source=npz:<path>` takes tokens of your own with a label each
(`train_tokens` and `train_labels` of one shape, `test_tokens` and `test_labels`).
"""

from functools import partial
from typing import Any

from ml_collections import ConfigDict

from kdjax import methods
from kdjax.experiment import sections, text
from kdjax.experiment.entry import Entry, method_section

METHODS = {"dkd": Entry(methods.dkd), "kd": Entry(methods.kd), "lskd": Entry(methods.lskd)}


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, method="kd")
    options: dict[str, Any] = {"temperature": 1.0} if chosen["method"] == "kd" else {}
    return ConfigDict(
        {
            **sections.run_section(seeds=3, evaluate_epochs=1, save_epochs=3),
            "data": sections.data_section("docstrings", batch=32, val_fraction=0.0),
            "teacher_training": _training(width=128, depth=3, heads=4),
            "student_training": _training(width=32, depth=2, heads=2),
            "method": method_section(chosen["method"], METHODS, **options),
        }
    )


def _training(**net: int) -> dict:
    optimiser = sections.adam_section(3e-3, weight_decay=0.01, warmup_epochs=0.5, clip=1.0)
    return {"net": net, "epochs": 3, "micro": 1, "average": 0.0, "optimiser": optimiser}


build = partial(text.build, table=METHODS)
