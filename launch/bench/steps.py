"""What a step of training takes: time, arithmetic, memory, traffic between devices."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdjax.core import InputError, check_option, pick
from kdjax.core.paths import read_number, read_whole, user_path
from kdjax.train import resolve
from kdjax.train.devices import find_devices
from launch.bench.bare import bare_step
from launch.bench.program import measured_peak
from launch.bench.pytorch import VARIANTS, load_torch, peer_step
from launch.bench.rounds import Time, time_in_turns
from launch.bench.subject import Subject, subject_of
from launch.bench.table import table
from launch.run import cli

USAGE = """python launch/benchmark.py steps [--workloads=<names>] [--config=<file.py>[:<variant>]] ...

  --workloads=<names>     of configs/settings/workloads.py, between commas: {names}.
  --config=<file>         any config, in place of workloads or beside them; its last stage is timed. What it learns from need not be
                          trained: weights are random, which changes no time.
  --config.<field>=<value>  overrides a field of all of them.
  --methods=<names>       the config once for each method, between slashes, as in kd/dkd/crd: what a method costs.
  --each=<field>=<values> the same once for each value of a field: --each=data.batch=32,128,512.
  --stage=<name>          another stage than the last.
  --images=<shape>        made-up images in place of the config's data, <height>x<width>x<channels>:<classes>.
  --rows=<number>         of made-up images; default 4 batches, or 16 a class.
  --against=<what>        bare: the gradient step of the same net without kdjax; torch: the same work in PyTorch, where it is
                          installed; or a file of lines that --json wrote: ratios to its times.
  --variants=<names>      of torch: {variants}; default all.
  --block=<steps>         in one compiled call; default 8.
  --rounds=<number>       in which all take turns; default 5.
  --seconds=<number>      about how long a part of a round takes; default 1. It is one call at least.
  --profile=<folder>      a trace of one part of each, for TensorBoard or Perfetto.
  --json                  a line of JSON for each in place of the table.

Times are medians over the rounds; `spread` is the slowest round less the fastest, as a part of it; ratios are medians over the
rounds of two times in one round. `peak` is the share of what a product of large matrices in float32 reaches in the same rounds;
`host` the share of the time in which the host starts calls and does not wait; `memory` that of one device, `sent` what collectives
bring to a device. Arithmetic is that of convolutions and products of matrices. Where
JAX_COMPILATION_CACHE_DIR is set, a program may be read in place of compiled.
"""
OTHERS = ("bare", "torch")


def main(words: Sequence[str]) -> None:
    from configs.settings.workloads import WORKLOADS

    parser = cli.Parser(add_help=False, allow_abbrev=False)
    defaults = {
        "workloads": "", "config": "", "methods": "", "each": "", "stage": "", "images": "", "rows": "", "against": "",
        "block": "8", "variants": ",".join(VARIANTS), "rounds": "5", "seconds": "1", "profile": "",
    }  # fmt: skip
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    args, overrides = parser.parse_known_args(words)
    if args.help:
        return print(USAGE.format(names=", ".join(WORKLOADS), variants=", ".join(VARIANTS)))
    if not (args.workloads or args.config):
        raise InputError("expected --workloads=<names> or --config=<file>; --help tells more")
    args.block, args.rounds = (cli.whole(f"--{name}", getattr(args, name), 1) for name in ("block", "rounds"))
    seconds = _seconds(args.seconds)
    args.rows = cli.whole("--rows", args.rows, 1) if args.rows else 0
    before = _read(args.against) if args.against and args.against not in OTHERS else {}
    variants = [pick("variant", name, {known: known for known in VARIANTS}) for name in args.variants.split(",")]
    if args.against == "torch":
        load_torch()
    asked = {name: pick("workload", name, WORKLOADS) for name in filter(None, args.workloads.split(","))}
    wanted = [(name, one.config, one.images, (*one.words, *overrides), one.peer) for name, one in asked.items()]
    if args.config:
        wanted.append((_title(args.config), args.config, "", tuple(overrides), ""))
    subjects: dict[str, Subject] = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, config, images, more, peer in _spread(wanted, args):
            subjects |= _subjects(title, config, args.images or images, more, peer, variants, args, Path(folder))
        if not args.json:
            cli.tell(f"blocks of {args.block} steps; {args.rounds} rounds; {os.cpu_count()} cores, load {_load()}, {_device()}")
        peak = measured_peak()
        times = time_in_turns({name: s.call for name, s in subjects.items()} | {"": peak}, rounds=args.rounds, seconds=seconds)
        for name, subject in subjects.items() if args.profile else ():
            with jax.profiler.trace(str(user_path(args.profile) / name.replace("/", "-").replace(" ", "_"))):
                jax.block_until_ready(subject.call())
    rows = told(subjects, times, before)
    if args.json:
        for row in rows:
            about = {"cores": os.cpu_count(), "load": _load(), "device": _device(), "block": args.block}
            print(json.dumps(row | about), flush=True)
    else:
        print(shown(rows))


def told(subjects: Mapping[str, Subject], times: Mapping[str, Time], before: Mapping[str, dict]) -> list[dict]:
    """A row for each, first to last; `times` has that of the peak by the name `""`."""
    peak = 2 * 2048**3 / min(times[""].parts)
    first, found = next(iter(subjects)), []
    for name, subject in subjects.items():
        took, program = times[name], subject.program
        seconds = took.seconds / subject.steps
        row: dict[str, Any] = {
            "name": name, "step_seconds": seconds, "spread": took.spread, "parts": [x / subject.steps for x in took.parts],
            "of_first": took.ratio(times[first]) * subjects[first].steps / subject.steps,
            "images_per_second": subject.images / seconds,
        }  # fmt: skip
        if program:
            row |= program._asdict() | {"of_peak": program.flops / seconds / peak, "host": took.host}
        if name in before:
            row["of_before"] = seconds / before[name]["step_seconds"]
        found.append(row)
    return found


def shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table; what is not known stays empty."""
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "a step": ("step_seconds", lambda x: f"{1e3 * x:,.1f} ms"),
        "spread": ("spread", "{:.0%}".format),
        "of the first": ("of_first", "{:.2f}".format),
        "of before": ("of_before", "{:.2f}".format),
        "images/s": ("images_per_second", "{:,.0f}".format),
        "GFLOP": ("flops", lambda x: f"{x / 1e9:,.2f}"),
        "peak": ("of_peak", "{:.0%}".format),
        "host": ("host", "{:.0%}".format),
        "memory": ("memory_bytes", lambda x: f"{x / 1e6:,.0f} MB"),
        "sent": ("sent_bytes", lambda x: f"{x / 1e3:,.1f} kB"),
        "compile": ("compile_seconds", "{:.1f} s".format),
        "CPU": ("compile_cpu_seconds", "{:.1f} s".format),
    }
    kept = {title: column for title, column in columns.items() if any(column[0] in row for row in rows)}
    lines = [[row["name"], *(show(row[key]) if key in row else "" for key, show in kept.values())] for row in rows]
    return table([["steps of", *kept], *lines])


def _spread(wanted: Sequence[tuple], args: Any) -> list[tuple]:
    """Each config once for every method, and once for every value of a field."""
    if args.methods:
        wanted = [
            (f"{title}, {method}", _with_method(config, method), *rest)
            for title, config, *rest in wanted
            for method in args.methods.split("/")
        ]
    if args.each:
        field, _, values = args.each.partition("=")
        check_option("--each", args.each, lambda _: bool(field and values), "<field>=<value>,<value>,...")
        wanted = [
            (f"{title}, {field}={value}", config, images, (*more, f"--config.{field}={value}"), peer)
            for title, config, images, more, peer in wanted
            for value in values.split(",")
        ]
    return list(wanted)


def _with_method(config: str, method: str) -> str:
    path, variant = cli.config_place(config)
    kept = [part for part in variant.split(",") if part and not part.startswith("method=")]
    return f"{path}:{','.join([f'method={method}', *kept])}"


def _subjects(
    title: str, text: str, images: str, overrides: Sequence[str], peer: str, variants: Sequence[str], args: Any, folder: Path
) -> dict[str, Subject]:
    """The step of a config's stage, and what it is held against."""
    module, config = cli.read_config(text, overrides)
    if images:
        words = (f"--config.data.source=npz:{_made(images, args.rows, config.data.batch, folder)}", *overrides)
        module, config = cli.read_config(text, words)
    check_option("--config.parallel", config.parallel, lambda p: p != "pmap", "jit, shard_map")
    stages = module.build(config).stages
    name = args.stage or list(stages)[-1]
    pick("stage", name, stages)
    stage, devices = stages[name], find_devices(config.parallel, count=config.devices, fsdp=config.fsdp)
    check_option("--config.data.batch", stage.batch, lambda n: n % devices.size == 0, f"a multiple of {devices.size}, the devices")
    how, outputs = resolve(config.members, stage.members), folder / f"outputs{len(list(folder.iterdir()))}"
    found = {title: subject_of(name, stages, devices, how=how, steps=args.block, folder=outputs)}
    if args.against == "bare":
        found[f"{title}, bare"] = bare_step(stages, name)
    if args.against == "torch" and peer:
        nets = [section.net.name for section in (config.get("student_training"), config.get("teacher_training")) if section]
        for variant in variants:
            found[f"{title}, PyTorch {variant}"] = peer_step(peer, stage.batch, variant, *nets)
    elif args.against == "torch":
        cli.tell(f"{title}: the same work is not here in PyTorch")
    return found


def _made(images: str, rows: int, batch: int, folder: Path) -> Path:
    """A file of random images and labels, one a class at least; no number of rows is 4 batches, or 16 a class."""
    shape, _, text = images.partition(":")
    sides, classes = [read_whole(x) or 0 for x in shape.split("x")], read_whole(text) or 0
    right = len(sides) == 3 and min(sides) > 0 and classes > 1
    check_option("--images", images, lambda _: right, "<height>x<width>x<channels>:<classes>, as in 32x32x3:100")
    rows = max(rows or max(4 * batch, 16 * classes), classes)
    numbers, path = np.random.default_rng(0), folder / f"{shape}-{classes}-{rows}.npz"
    arrays: dict[str, Any] = {}
    for split, count in (("train", rows), ("test", classes)):
        arrays[f"{split}_images"] = numbers.integers(0, 256, (count, *sides), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % classes
    np.savez(path, **arrays)
    return path


def _title(config: str) -> str:
    path, variant = cli.config_place(config)
    return Path(path).stem + (f":{variant}" if variant else "")


def _read(text: str) -> dict[str, dict]:
    """Lines of an earlier measurement by their names."""
    path = user_path(text)
    if not path.is_file():
        raise InputError(f"--against={text} is not accepted: expected {', '.join(OTHERS)}, or a file that is there")
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        return {row["name"]: row for row in rows if row["step_seconds"] > 0}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--against={text} is not accepted: expected lines that --json wrote") from error


def _seconds(text: str) -> float:
    value = read_number(text)
    if value is None or not 0 < value < 86_400:
        raise InputError(f"--seconds={text!r} is not accepted: expected a number above 0")
    return value


def _load() -> float:
    return round(os.getloadavg()[0], 1)


def _device() -> str:
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"
