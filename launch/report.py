"""Makes one table and one plot of many runs.

python launch/report.py runs/kd runs/dkd --out=report.md
"""

import csv
import io
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdjax.core import InputError
from kdjax.core.files import write_text
from kdjax.core.paths import user_path
from kdjax.core.printable import printable
from launch.run import cli
from launch.table import plots, runs
from launch.table.markdown import LONG, bars, long, markdown, plain
from launch.table.protocol import differences, protocol_of, shown
from launch.table.tables import Table, table

USAGE = """python launch/report.py <run or folder of runs> ... [--results=...] [--baseline=...] [--labels=...] [--out=...] ...

  <run>                  a folder that launch/main.py wrote, or a folder that holds such.
  --results=<a>,<b>      what is shown: measures (test_ece) or results (student/test_accuracy); default each network's score.
  --baseline=<name>      what rows are compared with, paired by seed: a run or its label, a network (each run's own),
                         or <run>/<network>; default what each run compares itself with.
  --labels=<a>,<b>       names of the runs, in their order; default their folders.
  --sort=<measure>       best first; default in the order given.
  --vary=<field>,...     fields of the protocol that rows may differ in, shown in a column each; otherwise runs
                         of different protocols are refused.
  --split-protocols      makes a table for each protocol instead.
  --out=<dir or x.md>    writes the Markdown and a plot beside it; default prints the Markdown.
  --csv=<file>           writes one line a seed.
  --json=<file>          writes all that is in the tables.
"""


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("runs", nargs="*")
    for name in ("results", "baseline", "labels", "sort", "vary", "out", "csv", "json"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--split-protocols", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_intermixed_args()
    if args.help:
        return print(USAGE)
    if not args.runs:
        raise InputError("expected a run's folder, or several; --help tells more")
    lines_at, values_at = (cli.file_to_write(f"--{name}", getattr(args, name)) for name in ("csv", "json"))
    found = _labelled(runs.find(args.runs, lambda line: cli.tell(line, file=sys.stderr)), args.labels)
    vary = _words(args.vary)
    groups = _groups(found, vary, args.split_protocols)
    made = [
        table(group, results=_words(args.results), baseline=args.baseline, sort=args.sort, vary=vary, everywhere=found)
        for group in groups
    ]
    titles = _titles(groups)
    for group, one in zip(groups, made, strict=True):
        if not one.rows:
            cli.tell(f"left out: {', '.join(run.label for run in group)}: no {args.results}", file=sys.stderr)
    made, titles = map(list, zip(*[(one, title) for one, title in zip(made, titles, strict=True) if one.rows], strict=True))
    if args.out:
        _write(user_path(args.out), made, titles)
    else:
        print("\n".join(markdown(t, title) for t, title in zip(made, titles, strict=True)), end="")
    if lines_at:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([LONG, *([printable(x) for x in line] for t in made for line in long(t))])
        write_text(lines_at, text.getvalue())
    if values_at:
        write_text(values_at, json.dumps([plain(t) for t in made], indent=1) + "\n")


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _labelled(found: list[runs.Finished], labels: str | None) -> list[runs.Finished]:
    if not labels:
        return found
    names = _words(labels)
    if len(names) != len(found) or len(set(names)) != len(names):
        raise InputError(f"--labels={labels} is not accepted: expected {len(found)} different names, one for each run")
    return [run._replace(label=name) for run, name in zip(found, names, strict=True)]


def _groups(found: list[runs.Finished], vary: list[str], split: bool) -> list[list[runs.Finished]]:
    """Runs of one protocol each; without `split` there is one group, or a refusal."""
    known = {name for run in found for name in protocol_of(run.about, run.summary)}
    for name in vary:
        if name not in known:
            raise InputError(f"--vary={name} is not known; accepted: {cli.nearest(name, known)}")
    groups: list[list[runs.Finished]] = []
    for run in found:
        for group in groups:
            if not (apart := _apart(group[0], run, vary)):
                group.append(run)
                break
            if not split:
                name, one, other = apart[0]
                rows = f", --vary={','.join(x[0] for x in apart)} shows them in the rows" * (len(apart) < 4)
                raise InputError(
                    f"{name} is {shown(one)} in {group[0].folder} and {shown(other)} in {run.folder}: different protocols do not "
                    f"share a column; --split-protocols makes a table of each{rows}"
                )
        else:
            groups.append([run])
    return groups


def _apart(a: runs.Finished, b: runs.Finished, vary: list[str]) -> list[tuple]:
    return [x for x in differences(protocol_of(a.about, a.summary), protocol_of(b.about, b.summary)) if x[0] not in vary]


def _titles(groups: list[list[runs.Finished]]) -> list[str]:
    """What each table's protocol has that others' have not."""
    tags = [protocol_of(group[0].about, group[0].summary) for group in groups]
    fields = list(dict.fromkeys(name for a in tags for b in tags for name, *_ in differences(a, b)))
    titles = []
    for own in tags:
        told = [f"{name} {shown(own[name])}" for name in fields if name in own]
        titles.append(", ".join(told[:4]) + f" and {len(told) - 4} more fields" * (len(told) > 4))
    return titles


def _write(out: Path, made: list[Table], titles: list[str]) -> None:
    """The tables as one Markdown file, a plot beside it for each."""
    if out.suffix == ".md":
        cli.file_to_write("--out", str(out))
    else:
        if out.is_file():
            raise InputError(f"--out={out} is a file: expected a folder, or a name that ends in .md")
        out.mkdir(parents=True, exist_ok=True)
        out = out / "report.md"
    parts = []
    for i, (one, title) in enumerate(zip(made, titles, strict=True)):
        picture = out.with_name(out.stem + (f"-{i + 1}" if len(made) > 1 else "") + ".png")
        plots.bars(picture, bars(one), title, known=one.known)
        parts.append(markdown(one, title, picture.name))
    write_text(out, "\n".join(parts))
    cli.tell(f"{sum(len(t.rows) for t in made)} rows written to {out}, plotted beside it")


if __name__ == "__main__":
    cli.run(main)
