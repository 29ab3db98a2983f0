"""Stands in for the `collect` of a stage."""

import numpy as np

LABELS = np.arange(12) % 6


def collected(outputs):
    """Stands in for `collect`: outputs by split, and what was asked for."""

    def collect(split, *taps, given=False):
        asked = {n: {t: v[t] for t in taps if t in v} for n, v in outputs[split].items() if given or n != "teacher"}
        return asked, {"label": LABELS}

    return collect
