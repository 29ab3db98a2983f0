"""The numbers of a finished run, as `summary.json` holds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.core import InputError
from kdjax.core.files import read_json
from kdjax.evaluate import paired_interval
from kdjax.train.stage import known_measures
from launch.table.measures import are_measures, best_step, told
from launch.table.task import task_of


def written(config: Any, experiment: Any, source: dict, measures: Mapping[str, Mapping[str, Sequence[float]]]) -> dict:
    """All of it that does not depend on the machine.

    Args:
      config: resolved.
      experiment: what `build(config)` gave.
      source: `{"file", "variant"}` of the config.
      measures: of every stage, and of a teacher from outside.
    """
    found, scores = results(measures), {name: stage.score for name, stage in experiment.stages.items()}
    if judge := experiment.judge():
        scores |= {name: judge.score for name in measures if name not in scores}  # a teacher from outside
    return {
        "method": config.method.name if "method" in config else source["file"].removesuffix(".py"),
        "config": source,
        "data": config.data.source,
        "steps": {name: stage.steps for name, stage in experiment.stages.items()},
        "seeds": [config.seed + i for i in range(config.seeds)],
        "protocol": protocol(config, experiment, scores),
        "scores": scores,
        "tasks": {name: [task_of(one) for one in stage.nets.values()] for name, stage in experiment.stages.items()},
        "measures": told(known_measures(experiment.stages.values()), found),
        "results": found,
        "comparisons": comparisons(found, experiment.compare),
    }


def read(folder: Path) -> dict:
    """What a finished run has written.

    Raises:
      InputError: one line, where it is damaged.
    """
    file, advice = folder / "summary.json", "remove it, and the same command makes it again"
    found = read_json(file, advice)
    kinds = {"method": str, "data": str, "seeds": list, "results": dict, "comparisons": list}
    if all(isinstance(found.get(name), kind) for name, kind in kinds.items()) and found["results"]:
        points = found.get("points", {})
        cells = all(map(_is_cell, found["results"].items())) and all(map(_is_pair, found["comparisons"]))
        known = all(isinstance(found.get(x, {}), dict) for x in ("scores", "tasks")) and are_measures(found.get("measures", {}))
        if cells and known and isinstance(points, dict) and all(map(_is_sweep, points.values())):
            return found
    raise InputError(f"{file} is damaged: {advice}")


def results(stages: Mapping[str, Mapping[str, Sequence[float]]]) -> dict:
    """Mean, standard deviation and values over members of every measure, by `stage/measure`."""
    found = {}
    for stage, measures in stages.items():
        for measure, values in measures.items():
            spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
            found[f"{stage}/{measure}"] = {
                "mean": _finite(np.mean(values)),
                "std": _finite(spread),
                "values": [_finite(v) for v in values],
            }
    return found


def comparisons(found: dict, pairs: Sequence[tuple[str, str]]) -> list[dict]:
    """Paired differences over seeds with their 95% intervals."""
    compared = []
    for name, baseline in pairs:
        a, b = found[name]["values"], found[baseline]["values"]
        if len(a) == len(b) > 1 and None not in [*a, *b]:
            mean, low, high = paired_interval(a, b)
            compared.append({"result": name, "baseline": baseline, "mean": mean, "low": low, "high": high})
    return compared


def protocol(config: Any, experiment: Any, scores: Mapping[str, str]) -> dict:
    """What the numbers depend on, in words: what a table has to say beside them."""
    found = {
        "data": config.data.source,
        "train_images": experiment.dataset.train.size if experiment.learning else 0,
        "validation_images": 0 if experiment.dataset.val is None else experiment.dataset.val.size,
        "test_images": experiment.dataset.test.size,
        "step": "last" if config.select == "last" else best_step(scores.values()),
        "seeds_share": config.seeds_share,
        "precision": config.precision,
    }
    if "labels_per_class" in config:
        found["student_labels_per_class"] = config.labels_per_class or "all"
    if "teacher" in config:
        trained = config.get("teachers", 1)
        several = "one seed" if trained == 1 else f"{trained} seeds, {config.teachers_combine}"
        found["teacher"] = config.teacher or f"trained in this run with all labels, {several}, shared by all students"
    return found


def _is_cell(item: tuple[str, Any]) -> bool:
    name, cell = item
    if not (name.count("/") == 1 and isinstance(cell, dict) and isinstance(cell.get("values"), list)):
        return False
    return all(x is None or isinstance(x, int | float) for x in (*cell["values"], cell.get("mean", ""), cell.get("std", "")))


def _is_pair(found: Any) -> bool:
    if not (isinstance(found, dict) and all(isinstance(found.get(x), int | float) for x in ("mean", "low", "high"))):
        return False
    return all(isinstance(found.get(x), str) and found[x].count("/") == 1 for x in ("result", "baseline"))


def _is_sweep(found: Any) -> bool:
    points = isinstance(found, list) and bool(found) and all(isinstance(x, dict) for x in found)
    return points and all(isinstance(v, int | float) for x in found for v in x.values()) and all(len(x) > 1 for x in found)


def _finite(value: Any) -> float | None:
    """A number that JSON knows."""
    return float(value) if np.isfinite(value) else None
