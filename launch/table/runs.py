"""Finished runs, read back from their folders."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.core import InputError
from kdjax.core.files import read_json, read_lines
from kdjax.core.paths import user_path
from kdjax.evaluate import measure_of
from launch.run.checks import fields
from launch.table.measures import are_measures, curve_of, known_measures, score_of
from launch.table.protocol import epochs_of


class Finished(NamedTuple):
    """What a finished run has left.

    Attributes:
      folder: where.
      label: its name in a report.
      about: config.json; `{}` where there is none.
      summary: summary.json.
      lines: metrics.jsonl.
    """

    folder: Path
    label: str
    about: dict
    summary: dict
    lines: list[dict]


class Best(NamedTuple):
    """The best point of a stage's curve, mean over its members.

    Attributes:
      measure: of the curve: the score on validation images, or on test images where there are none.
      value: the mean at that point.
      end: the mean at the last point.
      at: where: the epoch of the budget, or the step where that is not told in epochs.
      of: the end.
      unit: `"epoch"` or `"step"`.
    """

    measure: str
    value: float
    end: float
    at: float
    of: float
    unit: str


def find(places: Sequence[str], say: Callable[[str], None]) -> list[Finished]:
    """The finished runs in folders: runs themselves, or folders that hold runs, whose unfinished ones are left out aloud.

    Raises:
      InputError: one line for a folder that is not there, holds no run, or is itself an unfinished or damaged one.
    """
    found: dict[Path, Finished] = {}
    for place in map(user_path, places):
        if not place.is_dir():
            raise InputError(f"{place} is not there: expected a run's folder, or a folder of runs")
        inside = _inside(place)
        if not inside:
            raise InputError(f"{place} holds no run: expected a folder that launch/main.py wrote, or a folder of such")
        before = len(found)
        for folder in inside:
            try:
                found.setdefault(folder.resolve(), read(folder))
            except InputError as error:
                if folder == place:
                    raise
                say(f"left out: {error}")
        if len(found) == before and not any(f.resolve() in found for f in inside):
            raise InputError(f"{place} holds no finished run")
    names = _short([run.folder for run in found.values()])
    return [run._replace(label=name) for run, name in zip(found.values(), names, strict=True)]


def read(folder: Path) -> Finished:
    """One finished run.

    Raises:
      InputError: one line that says what is missing or damaged.
    """
    if not (folder / "summary.json").is_file():
        config = folder / "config.json"
        if config.is_file() and not {"stages", "config"} & set(read_json(config)):
            raise InputError(f"{folder} holds no run: expected a folder that launch/main.py wrote, or a folder of such")
        raise InputError(f"{folder} is not finished: it has no summary.json; the command that began it goes on with it")
    summary = read_json(folder / "summary.json")
    about = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    cells = summary.get("results")
    if not (isinstance(cells, dict) and cells and all(_is_cell(name, cell) for name, cell in cells.items())):
        raise InputError(f"{folder / 'summary.json'} is damaged: expected results by stage/measure, with their values")
    for name in ("protocol", "steps", "points", "scores"):
        if not isinstance(summary.get(name, {}), dict):
            raise InputError(f"{folder / 'summary.json'} is damaged: expected names with values under {name}")
    if not are_measures(summary.get("measures", {})):
        raise InputError(f"{folder / 'summary.json'} is damaged: expected unit, better and digits of each of its measures")
    for name in ("config", "data", "platform"):
        if not isinstance(about.get(name, {}), dict):
            raise InputError(f"{folder / 'config.json'} is damaged: expected names with values under {name}")
    lines = read_lines(folder / "metrics.jsonl")
    return Finished(folder, folder.name, about, summary, [x for x in lines if isinstance(x, dict) and {"stage", "step"} <= set(x)])


def seeds_of(run: Finished, values: Sequence[Any]) -> tuple[int, ...]:
    """The seeds of a result: the first of the run's seeds, as many as it has values."""
    told = run.summary.get("seeds")
    seeds = told if isinstance(told, list) and len(told) >= len(values) else range(len(values))
    return tuple(seeds[: len(values)])


def best_of(run: Finished, stage: str) -> Best | None:
    """Where the score of a stage was best; None where its curve was not measured."""
    own = [x for x in run.lines if x["stage"] == stage]
    measure = curve_of(score_of(run.summary, stage), dict.fromkeys(k for x in own for k in x))
    if not measure:
        return None
    sign = measure_of(measure, known_measures(run.summary)).sign
    curve = [(x, np.array(np.ravel(x[measure]), float)) for x in own if measure in x]
    if points := run.summary.get("points", {}).get(stage):
        curve = _chosen(curve, points, measure, sign)
    curve = [(x, values.mean()) for x, values in curve if np.isfinite(values).all()]
    if not curve:
        return None
    top = max((value for _, value in curve), key=lambda value: sign * value)
    line = next(x for x, value in reversed(curve) if value == top)  # of equals the latest, as the run itself chooses
    epochs, steps = epochs_of(stage, dict(fields(run.about.get("config", {})))), run.summary.get("steps", {}).get(stage)
    # Lines count passes over the network's own rows, budgets those over all images.
    each = steps / epochs if epochs and steps else 1
    at, of = (round(x["step"] / each, 2) for x in (line, own[-1]))
    return Best(measure, float(top), float(curve[-1][1]), at, of, "step" if each == 1 else "epoch")


def _chosen(curve: list, points: list[dict], measure: str, sign: int) -> list:
    """Of a sweep's curve the members of the point that was chosen, found by the score it was chosen by."""
    scores = np.array([np.nan if p.get(measure) is None else p[measure] for p in points], float)
    if any(len(values) % len(points) for _, values in curve) or not np.isfinite(scores[0]):
        return []
    for _, values in reversed(curve):
        means = values.reshape(len(points), -1).mean(1)
        if np.allclose(sorted(means), sorted(scores), atol=1e-3, equal_nan=True):
            which = int(np.nanargmax(sign * means))
            return [(x, v.reshape(len(points), -1)[which]) for x, v in curve]
    return []


def _inside(place: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """The runs in a folder, by links too, but for a link to a folder that it lies in."""
    if any((place / name).is_file() for name in ("summary.json", "config.json", "metrics.jsonl")):
        return [place]
    above |= {place.resolve()}
    below = [p for p in sorted(place.iterdir()) if p.is_dir() and p.name[0] not in "._" and p.resolve() not in above]
    return [run for folder in below for run in _inside(folder, above)]


def _is_cell(name: str, cell: Any) -> bool:
    values = cell.get("values") if isinstance(cell, dict) else None
    numbers = isinstance(values, list) and values and all(v is None or isinstance(v, int | float) for v in values)
    return bool(numbers) and len(name.split("/")) == 2


def _short(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    length = next(n for n in range(1, 1000) if len({p[-n:] for p in parts}) == len(parts))
    return ["/".join(p[-length:]) for p in parts]
