"""Tables and plots that an experiment adds to its report: what a study shows beside the score of each network."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kdjax.evaluate import paired_interval

Cell = str | float | Sequence[float]  # several numbers are shown as their mean and standard deviation


class Lines(NamedTuple):
    """A plot of numbers that depend on another one.

    Attributes:
      x: what the lower axis shows, with its unit.
      y: what the upright axis shows, with its unit.
      at: the values of x.
      lines: name -> at each of them one number a seed, or () where there is none.
      logarithmic: whether the lower axis is.
    """

    x: str
    y: str
    at: Sequence[float]
    lines: Mapping[str, Sequence[Sequence[float]]]
    logarithmic: bool = False


class Points(NamedTuple):
    """A plot of pairs of numbers.

    Attributes:
      x: what the lower axis shows, with its unit.
      y: what the upright axis shows, with its unit.
      points: group -> name of a point -> `(x, y)`. Groups have a colour each; names stand beside the points of a single group.
    """

    x: str
    y: str
    points: Mapping[str, Mapping[str, tuple[float, float]]]


class ReportTable(NamedTuple):
    """A table of a report, with a plot of it.

    Attributes:
      name: of its plot's file; short, without spaces.
      title: a heading.
      rows: name of a row -> name of a column -> cell. Columns stand in the order in which they come up; cells may be missing.
      digits: behind the point, of numbers.
      note: what is to be known of the numbers: sentences below the table.
      plot: or None.
    """

    name: str
    title: str
    rows: Mapping[str, Mapping[str, Cell]]
    digits: int = 2
    note: str = ""
    plot: Lines | Points | None = None

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))


Measured = Mapping[str, Mapping[str, Sequence[float]]]  # stage -> measure -> one number a seed
Tables = Callable[[Measured, Sequence[Mapping]], Sequence[ReportTable]]


def gain(values: Sequence[float], others: Sequence[float]) -> str:
    """A cell: by how much values are above others, paired by seed, with the 95% interval; empty where there is none.

    >>> gain([90.0, 92.0, 91.0], [89.0, 90.0, 91.0]), gain([90.0], [89.0])
    ('+1.00 [-1.48, 3.48]', '')
    """
    if len(values) != len(others) or len(values) < 2 or not np.isfinite([*values, *others]).all():
        return ""
    mean, low, high = paired_interval(values, others)
    return f"{mean:+.2f} [{low:.2f}, {high:.2f}]"
