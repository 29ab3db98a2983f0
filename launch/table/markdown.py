"""A report's table as text: Markdown with the protocol in words, lines for CSV, values for JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from kdjax.core.printable import printable
from kdjax.evaluate import MEASURES, Measure, measure_of
from launch.table import protocol, runs
from launch.table.measures import label, words
from launch.table.tables import Gap, Row, Table, table

LONG = ("run", "network", "measure", "seed", "value")  # the head of `long`


def escaped(text: object) -> str:
    r"""A name from outside as text in Markdown: no HTML, no links, no images, no cells of its own.

    >>> escaped("<b>|[x](y)\n")
    '&lt;b&gt;\\|\\[x\\](y)\\\\n'
    """
    plain = printable(text)
    for sign in "\\`*[]|":
        plain = plain.replace(sign, f"\\{sign}")
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown(table: Table, title: str = "", picture: str = "") -> str:
    """The table, with the protocol below it in words.

    Args:
      table: rows of one protocol.
      title: a heading, or nothing.
      picture: a file beside it to show, or nothing.
    """
    methods = _methods(table)
    columns: dict[str, list[str]] = {}
    if len(table.runs) > 1:
        columns["run"] = [escaped(_listed(row.labels)) for row in table.rows]
    columns["network"] = [escaped(row.stage) for row in table.rows]
    if methods:
        columns["method"] = [escaped(_method(row, methods)) for row in table.rows]
    for field in table.vary:
        columns[field] = [escaped(protocol.shown(protocol.protocol_of(r.run.about, r.run.summary).get(field))) for r in table.rows]
    first = len(columns)
    for m in table.measures:
        columns[label(m, table.known)] = [cell(row.cells.get(m), m, table.known) for row in table.rows]
        columns |= _differences(table, m)
    columns["seeds"] = [str(max(map(len, row.cells.values()))) for row in table.rows]
    if any(row.best for row in table.rows):
        columns["best on the way"] = [_best(row.best, table.known) for row in table.rows]
        columns["last"] = [_last(row.best, table.known) for row in table.rows]
    rule = ["---"] * first + ["---:"] * (len(columns) - first)
    lines = [list(map(escaped, columns)), rule, *map(list, zip(*columns.values(), strict=True))]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    head = f"## {escaped(title)}\n\n" * bool(title)
    plot = f"![{label(table.measures[0], table.known)}, a dot a seed]({picture})\n\n" * bool(picture)
    return f"{head}{text}\n\n{plot}" + "".join(f"{note}\n\n" for note in notes(table))


def notes(table: Table) -> list[str]:
    """What the numbers are, in words for a paper."""
    first, stages = table.runs[0], list(dict.fromkeys(row.stage for row in table.rows))
    said = protocol.words(first.about, first.summary, stages, skip=table.vary)
    varied = f" Rows differ in {', '.join(table.vary)}, as their columns say." * bool(table.vary)
    found = [f"Protocol: {'; '.join(map(escaped, said))}.{varied}"]
    seeds = dict.fromkeys(runs.seeds_of(row.run, v) for row in table.rows for v in row.cells.values() if len(v) > 1)
    if seeds:
        told = "; ".join(", ".join(map(str, s)) for s in seeds)
        found.append(f"Mean ± standard deviation over seeds (n - 1 in the denominator); seeds {told}.")
    devices = dict.fromkeys(protocol.device_of(run.about, run.summary) for run in table.runs)
    commits = dict.fromkeys((run.about.get("git") or "unknown")[:12] for run in table.runs)
    found.append(f"Device: {', '.join(map(escaped, devices))}; commit: {', '.join(map(escaped, commits))}.")
    for row in table.rows:
        if points := row.run.summary.get("points", {}).get(row.stage):
            *numbers, score = points[0]
            tried = "; ".join(", ".join(f"{p[n]:g}" for n in numbers) for p in points)
            chosen = ", ".join(f"{n.replace('_', ' ')} {points[0][n]:g}" for n in numbers)
            among = f", chosen by {label(score, table.known)} among {tried}" * (len(points) > 1)
            found.append(f"{escaped(_name(table, row))}: {chosen}{among}.")
    found += [f"Alarm, {escaped(_name(table, row))}: {escaped(alarm)}." for row in table.rows for alarm in _alarms(row)]
    intervals = sum(gap.interval is not None for row in table.rows for gaps in row.gaps.values() for gap in gaps)
    if intervals:
        found.append(
            "Differences are paired by seed, with their 95% interval by Student's t; one that contains 0 is not significant."
            + f" The {intervals} intervals are not corrected for their number." * (intervals > 1)
        )
    for measure in dict.fromkeys(row.best.measure for row in table.rows if row.best):
        lower = measure_of(measure, table.known).better == "lower"
        best = f"the {'lowest' if lower else 'highest'} {{}} {words(measure)}, mean over seeds, and where"
        if measure.startswith("val_"):
            found.append(f"Best on the way (val): {best.format('validation')}; no test image was looked at.")
        else:
            found.append(
                f"Best on the way (test): {best.format('test')}. It is chosen on test images, so it is too "
                f"{'low' if lower else 'high'}: it is for comparison with tables that report it, and is no result."
            )
    return found


def of_run(folder: Path, about: dict, summary: dict, lines: list[dict]) -> str:
    """The table of one run, with its plot."""
    run = runs.Finished(folder, folder.name, about, summary, lines)
    return markdown(table([run]), str(summary["method"]), "plots/scores.png")


def cell(values: Sequence[float | None] | None, measure: str, known: Mapping[str, Measure] = MEASURES) -> str:
    """The mean of one result with its spread; empty for what was not measured.

    >>> cell([98.2, 98.6], "test_accuracy")
    '98.40 ± 0.28'
    """
    if not values:
        return ""
    found = [v for v in values if v is not None]
    if len(found) < len(values):
        return f"not finite ({len(values) - len(found)} of {len(values)})"
    return mean_and_spread(found, measure_of(measure, known).digits)


def mean_and_spread(values: Sequence[float] | np.ndarray, digits: int) -> str:
    """The mean of numbers, and of several their standard deviation, n - 1 in the denominator.

    >>> mean_and_spread([1.0, 2.0], 1), mean_and_spread([3.14159], 2)
    ('1.5 ± 0.7', '3.14')
    """
    return f"{np.mean(values):.{digits}f}" + (f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "")


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean, or None where a value is not finite."""
    found = [v for v in values if v is not None]
    return float(np.mean(found)) if len(found) == len(values) else None


def bars(table: Table) -> dict[str, dict[str, list[float]]]:
    """For the plot: measure -> name of the row -> its values, without those that are not finite."""
    found = {}
    for m in table.measures:
        rows = {_name(table, row): [v for v in row.cells.get(m, ()) if v is not None] for row in table.rows}
        found[m] = {name: values for name, values in rows.items() if values}
    return {name: rows for name, rows in found.items() if rows}


def long(table: Table) -> Iterator[tuple]:
    """One line a seed."""
    for row in table.rows:
        for measure, values in row.cells.items():
            for seed, value in zip(runs.seeds_of(row.run, values), values, strict=True):
                yield _listed(row.labels), row.stage, measure, seed, "" if value is None else value


def plain(table: Table) -> dict:
    """The table as JSON values."""
    return {
        "runs": {run.label: str(run.folder) for run in table.runs},
        "protocol": protocol.protocol_of(table.runs[0].about, table.runs[0].summary),
        "vary": list(table.vary),
        "notes": notes(table),
        "rows": [
            {
                "runs": row.labels,
                "network": row.stage,
                "protocol": {f: protocol.protocol_of(row.run.about, row.run.summary).get(f) for f in table.vary},
                "settings": protocol.settings_of(row.run.about),
                "seeds": {m: runs.seeds_of(row.run, v) for m, v in row.cells.items()},
                "values": row.cells,
                "means": {m: mean_of(v) for m, v in row.cells.items()},
                "differences": {m: [gap._asdict() for gap in gaps] for m, gaps in row.gaps.items()},
                "best": row.best and row.best._asdict(),
                "device": protocol.device_of(row.run.about, row.run.summary),
                "commit": row.run.about.get("git"),
                "wall_seconds": row.run.summary.get("wall_seconds"),
            }
            for row in table.rows
        ],
    }


def _differences(table: Table, measure: str) -> dict[str, list[str]]:
    """A column for each baseline, or one for all where every row has but one, of its own."""
    found = [row.gaps.get(measure, ()) for row in table.rows]
    names = list(dict.fromkeys(gap.baseline for gaps in found for gap in gaps))
    what = f", {label(measure, table.known)}" * (len(table.measures) > 1)
    digits = measure_of(measure, table.known).digits
    if len(names) > 1 and max(map(len, found)) == 1:
        return {f"difference to the baseline{what}": [_gap(gaps[0] if gaps else None, digits, True) for gaps in found]}
    one = [{gap.baseline: gap for gap in gaps} for gaps in found]
    return {f"difference to {name}{what}": [_gap(gaps.get(name), digits, False) for gaps in one] for name in names}


def _gap(gap: Gap | None, digits: int, named: bool) -> str:
    if gap is None:
        return ""
    to = f" (to {escaped(gap.baseline)})" * named
    if gap.mean is None:
        return f"not paired: {gap.why}{to}"
    if gap.interval is None:
        return f"{gap.mean:+.{digits}f}, one seed{to}"
    _, low, high = gap.interval
    apart = "" if low > 0 or high < 0 else ", no significant difference"
    return f"{gap.mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]{apart}{to}"


def _best(best: runs.Best | None, known: Mapping[str, Measure]) -> str:
    if best is None:
        return ""
    value = f"{best.value:.{measure_of(best.measure, known).digits}f}"
    return f"{best.measure.replace('_', ' ')} {value} at {best.unit} {best.at:g}"


def _last(best: runs.Best | None, known: Mapping[str, Measure]) -> str:
    if best is None:
        return ""
    return f"{best.end:.{measure_of(best.measure, known).digits}f} at {best.unit} {best.of:g}"


def _alarms(row: Row) -> list[str]:
    """What alarms said of a network, each when it was told last."""
    lines = [line.get("alarms") for line in row.run.lines if line["stage"] == row.stage]
    told = {measure: text for found in lines if isinstance(found, dict) for measure, text in found.items()}
    return list(told.values())


def _methods(table: Table) -> dict[str, str]:
    """Of several runs the method of each, with the settings in which it differs from others of that method."""
    if len(table.runs) < 2:
        return {}
    settings = [protocol.settings_of(run.about) for run in table.runs]
    names = [str(run.summary.get("method", "unknown")) for run in table.runs]
    found = {}
    for run, name, own in zip(table.runs, names, settings, strict=True):
        kin = [other for other, n in zip(settings, names, strict=True) if n == name]
        apart = [k for k in own if any(other.get(k) != own[k] for other in kin)]
        ends = [k.rpartition(".")[2] for k in apart]
        short = [end if ends.count(end) == 1 else k for k, end in zip(apart, ends, strict=True)]
        found[run.label] = ", ".join(
            [name, *(f"{s.replace('_', ' ')} {protocol.shown(own[k])}" for s, k in zip(short, apart, strict=True))]
        )
    return found


def _method(row: Row, methods: Mapping[str, str]) -> str:
    """How a network was trained: as its run says, or where several runs hold it, what they have in common."""
    stage = row.run.about.get("methods", {}).get(row.stage)
    if stage is not None and stage != row.run.summary.get("method"):
        return str(stage)
    told = {methods[name] for name in row.labels}
    return told.pop() if len(told) == 1 else ""


def _name(table: Table, row: Row) -> str:
    return f"{_listed(row.labels)} {row.stage}" if len(table.runs) > 1 else row.stage


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels) if len(labels) < 4 else f"{labels[0]} and {len(labels) - 1} more"
