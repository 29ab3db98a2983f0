"""The look that all plots share: fonts, colours that a network keeps, units."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdjax.core.printable import printable
from kdjax.evaluate import MEASURES, Measure, measure_of

DPI = 120
# Read at half their size: 12 points at 120 dots an inch are 20 pixels, and still 10 then.
SETTINGS: Any = {
    "font.family": "DejaVu Sans", "font.size": 12, "axes.titlesize": 13, "axes.labelsize": 12, "figure.titlesize": 14,
    "xtick.labelsize": 11, "ytick.labelsize": 11, "legend.fontsize": 11, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#dddddd", "lines.linewidth": 2.0, "image.cmap": "viridis",
}  # fmt: skip
# Okabe and Ito's colours, which people with any kind of colour blindness tell apart.
GREY, BLUE, VERMILION, ORANGE = "#4d4d4d", "#0072b2", "#d55e00", "#e69f00"
GREEN, PURPLE, SKY = "#009e73", "#cc79a7", "#56b4e9"
LINES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))


class Style(NamedTuple):
    """How a network is drawn, in every plot."""

    color: str
    linestyle: Any = "-"


_FIXED = {
    "teacher": Style(GREY),
    "student": Style(BLUE), "encoder": Style(BLUE),
    "student_alone": Style(VERMILION), "untrained": Style(VERMILION),
    "student_smoothed": Style(ORANGE),
}  # fmt: skip
_OTHERS = [Style(GREEN), Style(PURPLE), Style(SKY)]
_OTHERS += [Style(color, line) for line in LINES[1:] for color in (GREEN, PURPLE, SKY, BLUE, VERMILION, ORANGE)]


def styles(names: Iterable[str]) -> dict[str, Style]:
    """The styles of networks by name, from all networks of a run: usual names have their own, others follow in their order.

    >>> styles(["teacher", "dkd", "kd"])["kd"] == styles(["teacher", "dkd", "kd", "at"])["kd"]
    True
    """
    names = list(dict.fromkeys(names))
    others = [name for name in names if name not in _FIXED]
    return {name: _FIXED.get(name) or _OTHERS[others.index(name) % len(_OTHERS)] for name in names}


def text(words: object) -> str:
    """Words from outside as a plot can show them: on one line, and a dollar begins no formula."""
    return printable(words).replace("$", r"\$")


def shown(name: str) -> str:
    """The name of a network, or of a measure, in words."""
    return text(name.replace("_", " "))


def with_unit(measure: str, known: Mapping[str, Measure] = MEASURES) -> str:
    """A measure in words, with its unit.

    >>> with_unit("test_top5_accuracy"), with_unit("val_nll"), with_unit("gap")
    ('test top5 accuracy (%)', 'val nll (nats)', 'gap (no unit)')
    """
    return f"{shown(measure)} ({text(measure_of(measure, known).unit or 'no unit')})"


def subplots(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure and its axes `[rows, columns]`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(SETTINGS)
    return plt.subplots(rows, columns, layout="constrained", squeeze=False, **options)


def row(path: Path, title: str, panels: dict[str, Any], paint: Callable) -> None:
    """A row of panels, each made by `paint(axes, content)`."""
    figure, columns = subplots(1, len(panels), figsize=(5.4 * len(panels), 5))
    for axes, (name, content) in zip(columns[0], panels.items(), strict=True):
        paint(axes, content)
        axes.set_title(name)
    figure.suptitle(title)
    save(figure, path)


def say(figure: Any, *sentences: str) -> None:
    """What marks mean, below the plot."""
    told = " ".join(filter(None, sentences))
    if told:
        figure.supxlabel(told, fontsize=11, color=GREY)


def save(figure: Any, path: Path) -> None:
    """Writes a figure, and forgets it."""
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def legend(axes: Any, names: Sequence[str]) -> None:
    """Which line is whose: inside the plot, or beside it where there are many."""
    if len(names) > 8:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10, ncols=-(-len(names) // 20))
    elif names:
        axes.legend()
