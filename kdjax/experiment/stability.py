"""How steady the accuracy of students is from evaluation to evaluation."""

from collections.abc import Mapping, Sequence

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.experiment.report_table import ReportTable


def stability_table(curves: Mapping[str, Sequence[Sequence[float]]], *, share: float = 0.5) -> ReportTable:
    """Makes the table of mean and standard deviation of accuracy over the last evaluations of each student.

    Of each seed alone, over its last `n = ceil(share * evaluations)` values x: `m = sum(x) / n` and
    `s = sqrt(sum((x - m)^2) / (n - 1))`; a cell shows the mean of these over seeds, with their deviation. A student of a single
    evaluation among the last has no s, one without evaluations no row; a seed with a value that is not finite has nan.

    Args:
      curves: name of a student -> its accuracy in percent at each evaluation, one number a seed, `[evaluations, seeds]`.
      share: the part of the evaluations that counts, the last ones.

    Raises:
      InputError: for a share that is not above 0 and at most 1, and for a curve of another rank.

    Reference: Li et al., "Dynamic Data-Free Knowledge Distillation by Easy-to-Hard Learning Strategy", 2023, arXiv 2208.13648
      (CuDFKD), whose tables show mean and variance of accuracy over epochs; the deviation here is the root of such a variance.

    >>> rows = stability_table({"dafl": [[10.0], [90.0], [80.0], [84.0]]}).rows["dafl"]
    >>> [f"{rows[name][0]:.2f}" for name in rows]
    ['82.00', '2.83']
    """
    check_option("share", share, lambda part: 0 < part <= 1, "a number above 0 and at most 1")
    rows: dict[str, dict] = {}
    for name, curve in curves.items():
        values = np.asarray(curve, np.float64)
        if not values.size:
            continue
        if values.ndim != 2:
            raise InputError(f"the curve of {name!r} has shape {list(values.shape)}: expected [evaluations, seeds]")
        last = values[-int(np.ceil(share * len(values))) :]
        rows[name] = {"mean": last.mean(0).tolist()}
        if len(last) > 1:
            rows[name]["deviation"] = last.std(0, ddof=1).tolist()
    note = f"Accuracy in percent over the last {100 * share:g}% of a stage's evaluations, each seed by itself."
    return ReportTable("stability", "Accuracy from evaluation to evaluation", rows, note=note)


def evaluations(lines: Sequence[Mapping], measure: str = "test_accuracy") -> dict[str, list[list[float]]]:
    """The curves of a measure in the lines of a run's `metrics.jsonl`: stage -> `[evaluations, seeds]`.

    Args:
      lines: in the order of the file; those without the measure, of log points between evaluations, are left out. A number
        that is none, null in the file, is nan.
      measure: its key.

    >>> evaluations([{"stage": "dafl", "step": 5, "loss": [1.0]}, {"stage": "dafl", "step": 9, "test_accuracy": [80.0, 70.0]}])
    {'dafl': [[80.0, 70.0]]}
    """
    found: dict[str, list[list[float]]] = {}
    for line in lines:
        if measure in line:
            values = [np.nan if x is None else float(x) for x in np.ravel(np.array(line[measure], object))]
            found.setdefault(line["stage"], []).append(values)
    return found
