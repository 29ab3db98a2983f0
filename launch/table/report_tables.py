"""The tables that an experiment adds to its report: as Markdown, as plots, and as the values of summary.json."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from kdjax.experiment.report_table import Cell, Lines, Points, ReportTable
from launch.table import look
from launch.table.markdown import escaped, mean_and_spread

MARKERS = "os^DvPX*<>"
NEAR = ((8, 0, "left"), (-8, 0, "right"), (0, 12, "center"), (0, -12, "center"), (8, 10, "left"))  # of a point, where its name goes


def markdown(table: ReportTable) -> str:
    """The table below its title, with its plot and its note."""
    lines = [["", *table.columns], ["---"] + ["---:"] * len(table.columns)]
    lines += [[name, *(shown(row.get(column, ""), table.digits) for column in table.columns)] for name, row in table.rows.items()]
    cells = [line if k == 1 else list(map(escaped, line)) for k, line in enumerate(lines)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in cells)
    plot = f"![{escaped(table.title)}](plots/{table.name}.png)\n\n" * (table.plot is not None)
    return f"## {escaped(table.title)}\n\n{text}\n\n{plot}" + f"{escaped(table.note)}\n\n" * bool(table.note)


def shown(cell: Cell, digits: int) -> str:
    """A cell in words.

    >>> shown([1.0, 2.0], 1), shown(3.14159, 2), shown([], 2), shown("none", 2)
    ('1.5 ± 0.7', '3.14', '', 'none')
    """
    if isinstance(cell, str):
        return cell
    values = np.atleast_1d(np.asarray(cell, float))
    if not values.size:
        return ""
    if not np.isfinite(values).all():
        return "not finite"
    return mean_and_spread(values, digits)


def plain(table: ReportTable) -> dict:
    """The table as JSON values."""
    rows = {name: {column: _plain(cell) for column, cell in row.items()} for name, row in table.rows.items()}
    return {"name": table.name, "title": table.title, "rows": rows, "digits": table.digits, "note": table.note}


def draw(folder: Path, tables: Sequence[ReportTable]) -> None:
    """Writes `<name>.png` for each table that has a plot."""
    for table in tables:
        if isinstance(table.plot, Lines):
            figure = _lines(table.plot)
        elif isinstance(table.plot, Points):
            figure = _points(table.plot)
        else:
            continue
        figure.axes[0].set_title(look.text(table.title))
        look.save(figure, folder / f"{table.name}.png")


def _plain(cell: Cell) -> str | float | list[float | None] | None:
    if isinstance(cell, str):
        return cell
    values = [float(v) if np.isfinite(v) else None for v in np.atleast_1d(np.asarray(cell, float))]
    return values[0] if np.ndim(cell) == 0 else values


def _lines(plot: Lines):
    figure, axes = look.subplots(figsize=(8 + 2.5 * (len(plot.lines) > 8), 5))
    one, style = axes[0][0], look.styles(plot.lines)
    several = False
    for name, values in plot.lines.items():
        there = [(x, np.asarray(v, float)) for x, v in zip(plot.at, values, strict=True) if len(v)]
        x, mean = [x for x, _ in there], [v.mean() for _, v in there]
        one.plot(x, mean, **style[name]._asdict(), marker="o", label=look.shown(name))
        if any(len(v) > 1 for _, v in there):
            several = True
            low, high = [v.min() for _, v in there], [v.max() for _, v in there]
            one.fill_between(x, low, high, alpha=0.15, color=style[name].color, linewidth=0)
    if plot.logarithmic:
        one.set_xscale("log")
        one.set_xticks(list(plot.at), [f"{x:g}" for x in plot.at])
        one.minorticks_off()
    one.set(xlabel=look.text(plot.x), ylabel=look.text(plot.y))
    look.legend(one, list(plot.lines))
    look.say(figure, "Line: mean over seeds; band: from the least to the largest seed." * several)
    return figure


def _points(plot: Points):
    figure, axes = look.subplots(figsize=(8 + 2.5 * (len(plot.points) > 8), 6))
    one, style = axes[0][0], look.styles(plot.points)
    # Colours come again after a few groups, and points have no line to tell them apart.
    for (group, points), marker in zip(plot.points.items(), cycle(MARKERS), strict=False):
        x, y = np.array(list(points.values()), float).reshape(-1, 2).T
        one.plot(x, y, marker, color=style[group].color, markersize=8, alpha=0.8, label=look.shown(group))
    one.margins(0.12)
    one.set(xlabel=look.text(plot.x), ylabel=look.text(plot.y))
    if len(plot.points) == 1:
        _name(one, *plot.points.values())
    if len(plot.points) > 1:
        look.legend(one, list(plot.points))
    return figure


def _name(axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Writes names beside points, where that is possible on no other name and no point."""
    from matplotlib.transforms import Bbox

    axes.figure.canvas.draw()  # before, nothing has its place
    taken = [Bbox(place + np.array([[-6], [6]])) for place in axes.transData.transform(list(points.values()))]
    for name, place in points.items():
        for x, y, side in NEAR:
            text = axes.annotate(
                look.shown(name), place, xytext=(x, y), textcoords="offset points", ha=side, va="center", fontsize=10
            )
            box = text.get_window_extent()
            if (x, y, side) == NEAR[-1] or not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        taken.append(box)
