"""The rows of a report: networks of runs, their results, and what they are held against."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdjax.core import InputError, nearest
from kdjax.core.paths import user_path
from kdjax.evaluate import Interval, Measure, measure_of, paired_interval
from launch.table import runs
from launch.table.measures import AT_BEST, known_measures, score_of
from launch.table.runs import Finished


class Gap(NamedTuple):
    """A row's difference to a baseline.

    Attributes:
      baseline: in words.
      mean: of the differences; None where there is no pair.
      interval: at 95%; None for a single seed, or where there is no pair.
      why: why there is no pair; empty where there is.
    """

    baseline: str
    mean: float | None
    interval: Interval | None
    why: str


class Row(NamedTuple):
    """One network of one run, or of several that share it.

    Attributes:
      run: the first of its runs.
      labels: of all runs that hold this very network.
      stage: its name in the run.
      cells: measure -> its values, one a seed; None for what was not finite.
      gaps: measure -> its differences to baselines, where it has some.
      best: the best point of its curve.
    """

    run: Finished
    labels: tuple[str, ...]
    stage: str
    cells: dict[str, list[float | None]]
    gaps: dict[str, tuple[Gap, ...]]
    best: runs.Best | None


class Table(NamedTuple):
    """Rows of one protocol; `vary` are fields of it that rows may differ in, `known` the Measures by name."""

    runs: tuple[Finished, ...]
    measures: tuple[str, ...]
    rows: tuple[Row, ...]
    vary: tuple[str, ...]
    known: Mapping[str, Measure]


def table(
    group: Sequence[Finished],
    *,
    results: Sequence[str] = (),
    baseline: str | None = None,
    sort: str | None = None,
    vary: Sequence[str] = (),
    everywhere: Sequence[Finished] = (),
) -> Table:
    """The table of runs of one protocol.

    Args:
      group: the runs.
      results: measures, or `stage/measure`; empty: the scores.
      baseline: what rows are compared with; None: what each run compares itself with.
      sort: a measure to sort by, best first.
      vary: fields of the protocol shown in a column each.
      everywhere: all runs of the report: a result or baseline that none of them has is refused; one that only this group has not
        gives fewer rows.

    Raises:
      InputError: one line that names the result, baseline or measure that is not there.
    """
    everywhere = everywhere or group
    wanted = _wanted(group, results, everywhere)
    measures = tuple(dict.fromkeys(measure for _, measure in wanted))
    known = known_measures(*(run.summary for run in everywhere))
    rows: dict[Any, Row] = {}
    for run in group:
        for stage in dict.fromkeys(stage for stage, _ in wanted):
            cells = {m: _values(run, s, m) for s, m in wanted if s == stage and f"{s}/{m}" in run.summary["results"]}
            if not cells:
                continue
            digest = run.about.get("weights", {}).get(stage, str(run.folder))
            same = (stage, digest, str(cells), runs.seeds_of(run, next(iter(cells.values()))))  # by the cache, or as a teacher
            row = rows.get(same) or Row(run, (), stage, cells, {}, runs.best_of(run, stage))
            rows[same] = row._replace(labels=(*row.labels, run.label))
    compared = [row._replace(gaps=_gaps(row, group, baseline, everywhere)) for row in rows.values()]
    if sort is not None:
        if sort not in measures:
            raise InputError(f"--sort={sort} is not accepted: expected {nearest(sort, measures)}")
        compared.sort(key=lambda row: _rank(row.cells.get(sort), measure_of(sort, known).sign))
    return Table(tuple(group), measures, tuple(compared), tuple(vary), known)


def _values(run: Finished, stage: str, measure: str) -> list[float | None]:
    return run.summary["results"][f"{stage}/{measure}"]["values"]


def _wanted(group: Sequence[Finished], results: Sequence[str], everywhere: Sequence[Finished]) -> list[tuple[str, str]]:
    """Pairs of stage and measure, in the order of the first run that has them."""
    there = [tuple(key.split("/")) for key in dict.fromkeys(key for run in group for key in run.summary["results"])]
    if not results:
        scores = dict.fromkeys(f"test_{score_of(run.summary, stage)}" for run in group for stage in _stages(run))
        results = [m for m in scores if any(measure == m for _, measure in there)] or [there[0][1]]
        results += dict.fromkeys(measure for _, measure in there if measure.startswith(AT_BEST))
    known = {key for run in everywhere for key in run.summary["results"]}
    wanted = []
    for name in results:
        own = [(stage, measure) for stage, measure in there if name in (f"{stage}/{measure}", measure)]
        names = known if "/" in name else {key.partition("/")[2] for key in known}
        if name not in names:
            raise InputError(f"--results={name} is not in these runs; accepted: {nearest(name, names)}")
        wanted += own
    return list(dict.fromkeys(wanted))


def _stages(run: Finished) -> list[str]:
    return list(dict.fromkeys(key.partition("/")[0] for key in run.summary["results"]))


def _gaps(row: Row, group: Sequence[Finished], baseline: str | None, everywhere: Sequence[Finished]) -> dict[str, tuple[Gap, ...]]:
    found: dict[str, tuple[Gap, ...]] = {}
    for measure, values in row.cells.items():
        named = () if baseline is None else (_named_baseline(row, measure, baseline, group, everywhere),)
        for run, stage, against in filter(None, named) if named else _own_baselines(row, measure):
            if run.label in row.labels and (stage, against) == (row.stage, measure):
                continue
            name = (
                f"{run.label} " * (run.label in (baseline or "").split("/") or run.label not in row.labels)
                + stage
                + f" {against.replace('_', ' ')}" * (against != measure)
            )
            found[measure] = (*found.get(measure, ()), _gap(name, row.run, values, run, _values(run, stage, against)))
    return found


def _own_baselines(row: Row, measure: str) -> list[tuple[Finished, str, str]]:
    """What the run compares this result with: the choice of its config's author."""
    return [
        (row.run, *c["baseline"].split("/"))
        for c in row.run.summary.get("comparisons", ())
        if c.get("result") == f"{row.stage}/{measure}" and c.get("baseline") in row.run.summary["results"]
    ]


def _named_baseline(row, measure, baseline, group, everywhere) -> tuple[Finished, str, str] | None:
    named = {name: run for run in everywhere for name in (str(run.folder.resolve()), run.label)}
    stages = {key.partition("/")[0] for run in everywhere for key in run.summary["results"]}

    def run_of(name):
        return named.get(name) or named.get(str(user_path(name).resolve()))

    above, _, last = baseline.rpartition("/")
    if run := run_of(baseline):
        stage = row.stage
    elif last in stages and above:
        run, stage = run_of(above), last
    else:
        run, stage = row.run, baseline
    if run is None or stage not in stages:
        accepted = nearest(baseline, {run.label for run in everywhere} | stages)
        raise InputError(f"--baseline={baseline} is not known; accepted: {accepted}, or <run>/<network>")
    return (run, stage, measure) if run in group and f"{stage}/{measure}" in run.summary["results"] else None


def _gap(name: str, run: Finished, values: list, other: Finished, base: list) -> Gap:
    ours, theirs = (", ".join(map(str, runs.seeds_of(*of))) for of in ((run, values), (other, base)))
    if ours != theirs:
        return Gap(name, None, None, f"seeds {ours} against {theirs}")
    if None in [*values, *base]:
        return Gap(name, None, None, "not finite")
    if len(values) == 1:
        return Gap(name, values[0] - base[0], None, "")
    interval = paired_interval(values, base)
    return Gap(name, interval.mean, interval, "")


def _rank(values: list | None, sign: int) -> tuple[bool, float]:
    """The best first; what is not there, or not finite, last."""
    if not values or None in values:
        return True, 0.0
    return False, -sign * float(np.mean(values))
