"""Tables of students without data: beside students with data, how steady they are, and how far a generator's steps move them."""

from collections.abc import Mapping, Sequence

import numpy as np

from kdjax.evaluate import relative_accuracy
from kdjax.experiment.report_table import Measured, ReportTable
from kdjax.experiment.stability import evaluations, stability_table

SHIFTS = {"generator_shift": "its generator", "average_shift": "the average"}


def tables(measured: Measured, lines: Sequence[Mapping], names: Sequence[str], taught: Sequence[str] = ()) -> list[ReportTable]:
    """The tables of a run that have rows.

    Args:
      measured: `{stage: {measure: one number a seed}}`.
      lines: of the run's `metrics.jsonl`.
      names: of the stages of students without data, and of what they are held against.
      taught: of those of students with data.
    """
    curves = evaluations(lines)
    steady = stability_table({name: curves[name] for name in names if name in curves})
    found = [relative_table(measured, [name for name in names if name not in taught], taught), steady, shift_table(lines, names)]
    return [table for table in found if table.rows]


def relative_table(measured: Measured, names: Sequence[str], taught: Sequence[str]) -> ReportTable:
    """The accuracy of each student in percent of the teacher's, and of that of students who saw data.

    Args:
      measured: as in `tables`.
      names: of the rows.
      taught: of the students who saw data, a column each; without any there are no rows.
    """
    columns = {name: values for name in ("teacher", *taught) if (values := _accuracy(measured, name)).size}
    rows: dict[str, dict] = {}
    for name in names if taught else ():
        if (own := _accuracy(measured, name)).size:
            against = {f"of {other}, %": relative_accuracy(own, np.broadcast_to(x, own.shape)) for other, x in columns.items()}
            rows[name] = {title: np.asarray(share).tolist() for title, share in against.items()}
    note = "Test accuracy in percent of that of the teacher and of students who saw images of its data, seed by seed."
    return ReportTable("relative_accuracy", "Accuracy relative to that with data", rows, note=note)


def shift_table(lines: Sequence[Mapping], names: Sequence[str], *, share: float = 0.5) -> ReportTable:
    """How far a step of the generator moves the student's predictions on images of the same latents: what it is made to forget.

    Args:
      lines: as in `tables`.
      names: of the rows; one that logs no such number has none.
      share: the part of the log points that counts, the last ones.

    Reference: Do et al., "Momentum Adversarial Distillation: Handling Large Distribution Shifts in Data-Free Knowledge
      Distillation", NeurIPS 2022, arXiv 2209.10359.
    """
    rows: dict[str, dict] = {}
    for key, title in SHIFTS.items():
        for name, curve in evaluations(lines, key).items():
            if name in names:
                last = np.asarray(curve)[-int(np.ceil(share * len(curve))) :]
                rows.setdefault(name, {})[title] = (1000 * last.mean(0)).tolist()
    note = "The divergence of predictions before and after a step, in thousandths of a nat, over the last half of the run."
    return ReportTable("shift", "What a step of the generator changes for the student", rows, digits=3, note=note)


def _accuracy(measured: Measured, name: str) -> np.ndarray:
    return np.asarray(measured.get(name, {}).get("test_accuracy", ()), np.float64)
