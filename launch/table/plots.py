"""Figures of a run, from its records alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.evaluate import MEASURES, Measure, measure_of, paired_interval, same_kind
from kdjax.train.sweep import members_by_point
from launch.table import look
from launch.table.embedding import embedding
from launch.table.images import grid
from launch.table.markdown import escaped
from launch.table.measures import AT_BEST, curve_of, known_measures, score_of, words


def draw(folder: Path, lines: list[dict], summary: dict, results: dict, experiment: Any) -> None:
    """Writes `plots/*.png`: curves, scores, and where there are any, images made up and maps of an encoder's features."""
    plots, about = folder / "plots", f"{summary['method']} on {summary['data']}"
    plots.mkdir(exist_ok=True)
    chosen = {name: members_of(stage, results[name].points) for name, stage in experiment.stages.items() if name in results}
    curves(plots / "curves.png", lines, chosen, about, summary)
    _scores(plots / "scores.png", summary, list(experiment.stages), about)
    for name, title, images, names in _pictures(results):
        rows = len(images) if images.ndim == 5 else None
        grid(plots / f"{name}.png", images.reshape(-1, *images.shape[-3:]), title, rows, names)
    for name, result in results.items():
        if "test_rank_me" in result.measures:
            embedding(plots / f"{name}_embedding.png", name, result, experiment.stages[name], experiment.dataset)


def pictures(results: Mapping[str, Any]) -> str:
    """A section of the report with the images that were made up; empty where there are none."""
    shown = [f"![{escaped(title)}](plots/{name}.png)\n\n" for name, title, *_ in _pictures(results)]
    return f"## Images made up\n\n{''.join(shown)}" * bool(shown)


def _pictures(results: Mapping[str, Any]) -> Iterator[tuple[str, str, np.ndarray, list[str]]]:
    """Of each picture its file, its title, its images and the names of its rows."""
    for name, result in results.items():
        if result.samples is not None:
            yield f"{name}_images", f"{look.shown(name)}: images made up for it", np.asarray(result.samples), []
        if result.frames is not None:
            names = [str(step) for step in result.frames["steps"]]
            yield f"{name}_frames", f"{look.shown(name)}: images made up for it, by step", result.frames["images"] / 255, names


def members_of(stage: Any, points: Sequence[Mapping[str, float]]) -> list[list[int]]:
    """The members of every point of a stage's sweep, those of the chosen one first; without a sweep all members are one point.

    Args:
      stage: with `hyper`, the swept values of its members.
      points: of its result, the chosen one first.
    """
    if not points:
        return [list(range(stage.members))]
    best = {name: points[0][name] for name in stage.hyper}
    found = members_by_point(stage.hyper)
    return [members for first in (True, False) for point, members in found if (point == best) == first]


def curves(path: Path, lines: list[dict], points: Mapping[str, list[list[int]]], about: str, summary: Mapping[str, Any]) -> None:
    """Loss and scores over the run, a panel each: the mean over seeds, among few stages in a band from the least to the largest.

    Of a sweep that is the point that was chosen; the means of the others are thin lines.

    Args:
      path: the image.
      lines: of metrics.jsonl.
      points: of each stage, the members of every point, those of the chosen one first.
      about: what was run.
      summary: what summary.json holds, for the scores and their Measures.
    """
    known = known_measures(summary)
    stages = [stage for stage in dict.fromkeys(x["stage"] for x in lines) if stage in points]
    style = look.styles(points)
    panels: dict[str, dict[str, str]] = {"loss": {}}
    for stage in stages:
        keys = list(dict.fromkeys(k for x in lines if x["stage"] == stage for k in x))
        if loss := next((k for k in keys if k.endswith("loss")), ""):
            panels["loss"][stage] = loss
        if score := curve_of(score_of(summary, stage), keys):
            panels.setdefault(words(score), {})[stage] = score
    panels = {kind: found for kind, found in panels.items() if found}
    if not panels:
        return
    many = len(stages) > 8
    size = (5.6 * len(panels) + 2.5 * many, 5 + 0.1 * max(0, len(stages) - 20))
    figure, axes = look.subplots(1, len(panels), figsize=size)
    for one, (kind, found) in zip(axes[0], panels.items(), strict=True):
        least = np.inf
        for stage, key in found.items():
            own = [x for x in lines if x["stage"] == stage and key in x]
            values = np.array([np.ravel(x[key]) for x in own], float)
            _curve(one, [x["step"] for x in own], values, points[stage], style[stage], look.shown(stage), band=not many)
            least = min(least, np.nanmin(values, initial=np.inf))
        measures = dict.fromkeys(found.values())
        if kind == "loss":
            one.set_title("training loss")
            one.set_ylabel("loss (no unit; each method weighs its own)")
            if least > 0:
                one.set_yscale("log")
        else:
            one.set_title(look.text(f"{kind} on the way"))
            one.set_ylabel(", ".join(look.with_unit(measure, known) for measure in measures))
        one.set_xlabel("step of the stage (updates)")
    look.legend(axes[0][-1], stages)
    figure.suptitle(look.text(about))
    several = any(len(found[0]) > 1 for found in points.values())
    swept = any(len(found) > 1 for found in points.values())
    look.say(
        figure,
        f"Line: mean over seeds{'' if many else '; band: from the least to the largest seed'}." * several,
        "Thin lines: points of a sweep that were not chosen, mean over seeds." * swept,
    )
    look.save(figure, path)


def _curve(
    axes: Any, steps: list[int], values: np.ndarray, points: list[list[int]], style: look.Style, label: str, *, band: bool
) -> None:
    """The chosen point of a stage as a line in its band, others as thin lines; `values` is `[steps, members]`."""
    for members in points[1:]:
        axes.plot(steps, _mean(values[:, members]), **style._asdict(), linewidth=0.8, alpha=0.5)
    own = values[:, points[0]]
    axes.plot(steps, _mean(own), **style._asdict(), label=label, marker="." if len(steps) == 1 else None)
    if not band:
        return
    least, largest = (f(np.where(np.isfinite(own), own, x), 1) for f, x in ((np.min, np.inf), (np.max, -np.inf)))
    axes.fill_between(steps, least, largest, where=least <= largest, alpha=0.2, color=style.color, linewidth=0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over members, of those that are finite."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(1) / there.sum(1)


def _scores(path: Path, summary: dict, stages: list[str], about: str) -> None:
    """Every network's score on test images, and measures that are alike: a panel for each."""
    panels: dict[str, dict[str, list[float]]] = {}
    for key, cell in summary["results"].items():
        network, _, measure = key.partition("/")
        values = [v for v in cell["values"] if v is not None]
        shown = measure.startswith("test_") and not measure.startswith((AT_BEST, "test_top5"))
        if values and shown and same_kind(measure, score_of(summary, network)):
            panels.setdefault(measure, {})[network] = values
    if panels:
        bars(path, panels, about, stages, known=known_measures(summary))


def bars(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    title: str = "",
    networks: Sequence[str] = (),
    *,
    known: Mapping[str, Measure] = MEASURES,
) -> None:
    """A panel for each measure, a row for each name, the best on top: a dot a seed, the mean, and its 95% interval.

    Lengths from an axis that does not begin at 0 would lie, so there are no bars.

    Args:
      path: the image.
      panels: measure -> name of a row, which ends with that of a network -> its finite values; a panel holds at least one row.
      title: above all.
      networks: all of the run, of whose order colours follow; () for those of the rows.
      known: the Measures by name.
    """
    rows = [len(found) for found in panels.values()]
    size = (8, 1.0 + 0.5 * bool(title) + sum(0.9 + 0.3 * n for n in rows))
    figure, columns = look.subplots(len(panels), 1, figsize=size, height_ratios=[n + 1 for n in rows])
    style = look.styles([*networks, *(name.rpartition(" ")[2] for found in panels.values() for name in found)])
    several = interval = False
    for axes, (measure, found) in zip(columns[:, 0], panels.items(), strict=True):
        of = measure_of(measure, known)
        worst_first = sorted(found.items(), key=lambda row, sign=of.sign: sign * np.mean(row[1]))
        ends = [v for values in found.values() for v in values]
        for y, (name, values) in enumerate(worst_first):
            color, mean = style[name.rpartition(" ")[2]].color, float(np.mean(values))
            if len(values) > 1:
                several = True
                axes.plot(
                    values, y + np.linspace(-0.2, 0.2, len(values)), "o", color=color, markersize=5, alpha=0.5, markeredgewidth=0
                )
            if len(values) > 2:
                interval = True
                _, low, high = paired_interval(values, [0.0] * len(values))
                axes.plot([low, high], [y, y], color=color, linewidth=3, solid_capstyle="butt")
                ends += [low, high]
            axes.plot(mean, y, "D", color=color, markersize=8, markeredgecolor="white")
            at = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "annotation_clip": False}
            axes.annotate(f"{mean:.{of.digits}f}", (1, y), xytext=(6, 0), va="center", **at)
        margin = 0.05 * (max(ends) - min(ends)) or 1
        axes.set_xlim(min(ends) - margin, max(ends) + margin)
        axes.set_ylim(-0.6, len(worst_first) - 0.4)
        axes.set_yticks(range(len(worst_first)), [_row(name) for name, _ in worst_first])
        axes.set(xlabel=look.with_unit(measure, known), ylabel="network")
        axes.set_title(f"{look.shown(measure)} by network")
    if title:
        figure.suptitle(look.text(title))
    look.say(
        figure, "Diamond: mean, as on the right" + "; dot: a seed" * several + "; bar: 95% interval of the mean" * interval + "."
    )
    look.save(figure, path)


def _row(name: str) -> str:
    """A row's name, its network in words."""
    labels, space, network = name.rpartition(" ")
    return look.text(labels) + space + look.shown(network)
