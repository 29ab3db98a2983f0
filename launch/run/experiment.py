"""One experiment from its config to its records: all side effects of a run."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax

from kdjax.core import InputError
from kdjax.core.files import naming, write_json, write_text
from kdjax.data import decoding_threads
from kdjax.evaluate.classifier import near_chance
from kdjax.experiment.start import recorded, started
from kdjax.train import Diverged, Records, Result, Run, resolve, run_stages
from kdjax.train.devices import Devices, find_devices
from kdjax.train.fingerprint import of_platform
from kdjax.train.processes import first, primary, together
from kdjax.train.run import name_damaged
from kdjax.train.stage import score_of
from kdjax.train.teacher import measure_teacher
from kdjax.train.trace_once import trace_once
from launch.run import cli, tensorboard
from launch.run.caches import stage_cache
from launch.run.checks import check, check_validation
from launch.run.distributed import check_agreement
from launch.run.export import export
from launch.run.progress import Progress, Silent, summary_table
from launch.run.rehearsal import rehearse
from launch.run.workdir import digest_of_lines, is_finished, locked, make_folder, same_run
from launch.table import markdown, plots, report_tables, summary
from launch.table.measures import words


def run(build: Callable, config: Any, folder: Path, *, path: str, source: dict) -> None:
    """Runs, resumes, or shows what is finished.

    Args:
      build: `config -> Experiment`.
      config: resolved.
      folder: the run's folder.
      path: of the config's file.
      source: `{"file", "variant"}` of the config, for the records.
    """
    plain = json.loads(config.to_json())
    check_agreement(plain, source)
    if first(lambda: same_run(folder, plain, source) and is_finished(folder, cli.tell)):
        if primary():
            written = summary.read(folder)
            cli.tell(f"{folder} is finished:")
            summary_table(written, folder)
        return
    check(config, path)
    devices = _devices(config)
    experiment = together(lambda: started(config, build(config)))
    experiment = experiment._replace(stages={name: trace_once(stage) for name, stage in experiment.stages.items()})
    check_validation(config, experiment.dataset)
    expected = together(lambda: rehearse(experiment.stages, devices))
    about = _about(config, experiment, devices) | source
    with ExitStack() as held:
        first(lambda: _begun(folder, about, held))
        together(lambda: _check_shared(folder))
        _carry_out(config, experiment, about, folder, devices, expected)


def _about(config: Any, experiment: Any, devices: Devices) -> dict[str, Any]:
    """What config.json holds when a run begins."""
    dataset, teacher = experiment.dataset, experiment.outside
    found = {
        "config": json.loads(config.to_json()),
        "stages": list(experiment.stages),
        "members": resolve(config.members, config.seeds),
        "platform": of_platform(),
        "devices": devices.label,
        "git": _git_commit(),
        "deterministic": _deterministic(),
        "data": {
            "source": config.data.source, "digest": dataset.digest, "names": list(dataset.names), "shape": list(dataset.shape),
            "train": experiment.learning or "none",  # who learns from training images
            "crop": config.data.crop, "own_val": dataset.own_val, "notes": list(dataset.notes),
            "exif_orientation": dataset.exif_orientation,
        },
        "reader": "resident" if dataset.resident else "streaming",
    }  # fmt: skip
    if starts := recorded(experiment):
        found["init"] = starts
    if teacher:
        found["teacher"] = {"path": config.teacher, "sha256": teacher.sha256, "format": teacher.format}
        found["teacher"] |= {"taken": taken} if (taken := _taken(teacher)) else {}
    return found


def _notes(dataset: Any, config: Any) -> list[str]:
    """What is to know of the data, in lines."""
    if not dataset.own_val or not config.data.val_fraction:
        return list(dataset.notes)
    cut = f"--config.data.val_fraction={config.data.val_fraction} cuts none from its training images"
    return [f"the {dataset.val.size} validation images are the set's own; {cut}", *dataset.notes]


def _taken(teacher: Any) -> dict[str, str]:
    """What was taken of the files of teachers, and what was left over."""
    each = {f"teacher{k}": one for k, one in enumerate(teacher.members)} or {"teacher": teacher}
    return {name: one.told for name, one in each.items() if one.told}


def _started_from(name: str, start: dict) -> str:
    weights = f"{name}: starts from {start['format']} weights, sha256 {start['sha256'][:12]}"
    more = [f"with a new head, {', '.join(start['fresh'])}"] if start["fresh"] else []
    return "; ".join([weights, *more, *filter(None, [start["taken"]])])


def _begun(folder: Path, about: dict, held: ExitStack) -> None:
    make_folder(folder)
    held.enter_context(locked(folder))
    write_json(folder / "config.json", about)


def _carry_out(config: Any, experiment: Any, about: dict, folder: Path, devices: Devices, expected: list[str]) -> None:
    """Runs all stages; the first process then writes what a person looks at."""
    dataset = experiment.dataset
    splits = {**experiment.splits, "test": dataset.test}
    splits |= {"train": dataset.train} if experiment.learning else {}  # else nobody is given one
    splits |= {} if dataset.val is None else {"val": dataset.val}
    began = time.perf_counter()
    records = Records(folder)
    with (
        Progress(folder, experiment.stages) if primary() else Silent() as progress,
        tensorboard.Events(folder, on=primary(), stages=experiment.stages) as events,
        _Signals() as signals,
    ):

        def advance(stage, step, line):
            progress.advance(stage, step, line)
            if line:
                events.follow(records.lines)

        shared = Run(
            folder=folder, records=records, seed=config.seed, data_seed=config.data.seed, share=config.seeds_share,
            how=about["members"], select=config.select, splits=splits, digest=dataset.digest, devices=devices, cache=stage_cache(),
            stop=signals.came, say=progress.say, progress=advance, damaged=set(),
            resident=dataset.resident, corrupt=config.data.corrupt, workers=config.data.workers,
            threads=max(1, decoding_threads(dataset.shape)), test_curve=config.test_curve,
        )  # fmt: skip
        for note in _notes(dataset, config):
            shared.say(f"data: {note}")
        for line in expected:
            progress.say(line)
        name_damaged(shared, list(dataset.damaged))
        for name, start in recorded(experiment).items():
            shared.say(_started_from(name, start))
        given = _measured(experiment, shared)
        results = run_stages(experiment.stages, shared)
    left_out = [name for name in experiment.stages if name not in results]
    if primary():
        seconds = round(time.perf_counter() - began, 1)
        told = {"left_out": left_out, "wall_seconds": seconds}
        _conclude(config, _without(experiment, left_out), about, shared, given, results, told)
        events.show(folder / "plots")
    if left_out:
        raise Diverged(f"{folder / 'report.md'} is without {', '.join(left_out)}: what diverged, and what was built on it")


def _without(experiment: Any, left_out: list[str]) -> Any:
    """The experiment as if some of its stages had not been asked for."""
    stages = {name: stage for name, stage in experiment.stages.items() if name not in left_out}
    compare = tuple(pair for pair in experiment.compare if not {name.partition("/")[0] for name in pair} & set(left_out))
    return experiment._replace(stages=stages, compare=compare)


def _conclude(config, experiment, about, run: Run, given: dict, results: dict[str, Result], told: dict) -> None:
    """Writes and shows what is left of a run: plots, exports, report, summary."""
    folder = run.folder
    about |= {
        "weights": {name: result.digest for name, result in results.items()},
        "methods": {name: stage.about.get("method") for name, stage in experiment.stages.items()},
        "stages": list(experiment.stages),
        "metrics_sha256": digest_of_lines(folder),
    }
    write_json(folder / "config.json", about)
    measures = given | {name: result.measures for name, result in results.items()}
    points = {name: result.points for name, result in results.items() if result.points}
    written = summary.written(config, experiment, {k: about[k] for k in ("file", "variant")}, measures) | {
        "points": points,
        "damaged": sorted(run.damaged),
        "device": jax.devices()[0].device_kind,
        **told,
    }
    tables = experiment.tables(measures, run.records.lines) if experiment.tables else ()
    if tables:
        written["tables"] = list(map(report_tables.plain, tables))
    with naming(folder / "plots"):
        plots.draw(folder, run.records.lines, written, results, experiment)
        report_tables.draw(folder / "plots", tables)
    export(folder, about, written, results, experiment.stages)
    report = markdown.of_run(folder, about, written, run.records.lines)
    write_text(folder / "report.md", report + plots.pictures(results) + "".join(map(report_tables.markdown, tables)))
    write_json(folder / "summary.json", written)
    summary_table(written, folder)


def _devices(config: Any) -> Devices:
    try:
        devices = find_devices(config.parallel, count=config.devices, fsdp=config.fsdp)
    except InputError as error:
        raise InputError(f"--config.{error}") from None
    if config.data.batch % devices.size:
        batch = f"--config.data.batch={config.data.batch}"
        raise InputError(f"{batch} is not accepted: expected a multiple of {devices.size}, the devices")
    return devices


def _measured(experiment: Any, run: Run) -> dict[str, dict]:
    """The measures of a teacher from outside: nobody learns from it unmeasured."""
    teacher = experiment.outside
    if teacher is None:
        return {}
    for name, told in _taken(teacher).items():
        run.say(f"{name}: {told}")
    weights = f"teacher: {teacher.format} weights, sha256 {teacher.sha256[:12]}"
    if (known := teacher.specification.get("classes", experiment.dataset.classes)) != experiment.dataset.classes:
        run.say(f"{weights}, for {known or 'no'} classes, which are not those of this data: not measured")
        return {}
    stage = experiment.judge()
    if stage is None:
        return {}
    measures = measure_teacher(teacher, run, stage)
    if (score := f"test_{stage.score}") in measures:
        run.say(f"{weights}, test {words(score)} {score_of(stage).shown(measures[score][0])}")
    if near_chance(measures, experiment.dataset.classes):
        doubts = "are its classes in the order of this data, and teacher_mean and teacher_std its own?"
        run.say(f"teacher: hardly better than chance: {doubts}")
    members = {f"teacher{k}": measure_teacher(one, run, stage) for k, one in enumerate(teacher.members)}
    return {"teacher": measures} | members


def _check_shared(folder: Path) -> None:
    if not (folder / "config.json").exists():
        raise InputError(f"--workdir={folder} is not seen here: expected a folder on a file system that all processes share")


class _Signals:
    """After SIGTERM or Ctrl-C the run saves at the end of its block; a second Ctrl-C stops at once."""

    def __enter__(self):
        self._asked = False
        self._before = {n: signal.signal(n, self._note) for n in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def came(self) -> bool:
        return self._asked

    def _note(self, number, frame):
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _git_commit() -> str | None:
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=cli.ROOT, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return None
    return asked.stdout.strip() or None


def _deterministic() -> bool:
    return jax.default_backend() != "gpu" or "xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", "").lower()
