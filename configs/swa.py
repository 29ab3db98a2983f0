"""The mean of weights along a fine-tuning path of high rate, beside its end, a rate that falls, and a larger net as teacher.

    python launch/main.py --config=configs/swa.py --workdir=runs/swa
    python launch/main.py --config=configs/swa.py --config.data.source=tfds:fashion_mnist --config.per_class=100 --workdir=runs/swa

A net learns the first `source_classes` classes; on `per_class` labels of each of the others it is tuned in four ways, in as many
steps: `decayed` to a rate of 0, `constant` at `swa.rate_share` of the rate behind `swa.after` of the steps, `swa` the mean of that
path with batch norm measured anew, and `distilled` from `teacher`, a wider net that came the same way.

    python launch/main.py --config=configs/swa.py:task=text --workdir=runs/swa_text

does the same with a byte transformer: it learns to tell hidden bytes of docstrings, a part `mask` of which is hidden, and is tuned
to tell from which of six installed packages one is.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax import methods
from kdjax.core import pick
from kdjax.experiment import sections, swa
from kdjax.experiment.entry import keyword_defaults

build = swa.build


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, task="images")
    learning = {"epochs": 20, "optimiser": sections.adam_section(3e-3, weight_decay=0.01)}
    return ConfigDict(
        {
            **sections.run_section(seeds=5),
            **pick("task", chosen["task"], TASKS),
            "rates": (),  # learning rates of the tuning to choose from, each way its own; (): that of the config
            "learning": learning,
            "tuning": {"epochs": 40, "optimiser": sections.adam_section(3e-3, weight_decay=0.01, warmup_epochs=1.0)},
            "swa": {"after": 0.5, "rate_share": 0.5, "every": 1, "smoothing": 0.0},
            "kd": keyword_defaults(methods.kd),
        }
    )


TASKS: dict[str, dict[str, Any]] = {
    "images": {
        "data": sections.data_section("digits", batch=32, val_fraction=0.1),
        "source_classes": 5,
        "per_class": 20,
        "net": {"name": "conv_net", "widths": (8, 16)},
        "wider_net": {"name": "conv_net", "widths": (32, 64)},
    },
    "text": {
        "data": sections.data_section("docstrings:packages", batch=32, val_fraction=0.1),
        "mask": 0.15,
        "per_class": 100,
        "net": {"width": 64, "depth": 2, "heads": 4},
        "wider_net": {"width": 128, "depth": 3, "heads": 4},
    },
}
