"""One experiment from its config to its records: all side effects of a run."""

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from kdjax.core import InputError
from kdjax.evaluate import paired_interval
from kdjax.train import Records, Result, Run, resolve, run_stages
from kdjax.train.files import write_json
from kdjax.train.fingerprint import of_platform
from kdjax.train.stage import blank_batch, check_stage
from launch import cli, plots
from launch.caches import stage_cache
from launch.checks import check
from launch.show import Progress, summary_table


def run(build: Callable, config: Any, folder: Path, *, source: dict) -> None:
    """Runs, resumes, or shows what is finished.

    Args:
      build: `config -> Experiment`.
      config: resolved.
      folder: the run's folder.
      source: `{"file", "variant"}` of the config, for the records.
    """
    plain = json.loads(config.to_json())
    if _same_run(folder, plain, source) and (folder / "summary.json").exists():
        summary = _read_json(folder / "summary.json")
        print(f"{folder} is finished:")
        return summary_table(summary, folder)
    check(config, source["file"])
    mesh = _mesh(config)
    how = resolve(config.members, config.seeds)
    experiment = build(config)
    _rehearse(experiment.stages, 1 if mesh is None else mesh.size)
    _make_folder(folder)
    dataset = experiment.dataset
    data = {"source": config.data.source, "digest": dataset.digest, "names": list(dataset.names), "shape": list(dataset.shape)}
    about = {
        **source, "config": plain, "stages": list(experiment.stages), "members": how, "platform": of_platform(),
        "git": _git_commit(), "deterministic": _deterministic(), "data": data,
    }  # fmt: skip
    write_json(folder / "config.json", about)
    splits = {"train": dataset.train, "test": dataset.test} | ({} if dataset.val is None else {"val": dataset.val})
    began = time.perf_counter()
    with Progress(folder, experiment.stages) as progress, _Signals() as signals:
        results = run_stages(
            experiment.stages,
            Run(
                folder=folder, records=Records(folder), seed=config.seed, data_seed=config.data.seed,
                share=config.seeds_share, how=how, select=config.select, splits=splits, digest=dataset.digest, mesh=mesh,
                cache=stage_cache(), stop=signals.came, say=progress.say, progress=progress.advance,
            ),
        )  # fmt: skip
    write_json(folder / "config.json", {**about, "weights": {name: result.digest for name, result in results.items()}})
    found = _results(results)
    summary = {
        "method": config.method.name if "method" in config else source["file"].removesuffix(".py"),
        "config": source,
        "data": config.data.source,
        "steps": {name: stage.steps for name, stage in experiment.stages.items()},
        "seeds": [config.seed + i for i in range(config.seeds)],
        "protocol": _protocol(config, experiment),
        "results": found,
        "comparisons": _comparisons(found, experiment.compare),
        "points": {name: result.points for name, result in results.items() if result.points},
        "wall_seconds": round(time.perf_counter() - began, 1),
        "device": jax.devices()[0].device_kind,
    }
    plots.draw(folder, Records(folder).lines, summary, results, experiment)
    write_json(folder / "summary.json", summary)
    summary_table(summary, folder)


def _same_run(folder: Path, plain: dict, source: dict) -> bool:
    """Whether the folder holds this very run; another one is refused."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise InputError(f"--workdir={folder} is a file: expected a folder, which is made if it is not there")
    if not (folder / "config.json").exists():
        strange = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
        if strange:
            raise InputError(f"--workdir={folder} holds {strange[0]!r} and no run: expected an empty folder or a run's folder")
        return False
    kept = _read_json(folder / "config.json")
    if not {"config", "file", "variant"} <= set(kept):
        raise InputError(f"{folder / 'config.json'} is not that of a run: choose another --workdir, or remove that folder")
    old, theirs, ours = kept["config"], *(f"{x['file']}:{x['variant']}".removesuffix(":") for x in (kept, source))
    if theirs != ours:
        raise InputError(f"--workdir={folder} holds a run of {theirs}, this command is one of {ours}: choose another --workdir")
    if different := _difference(old, plain):
        raise InputError(f"--workdir={folder} holds a run with {different}: choose another --workdir, or repeat its command")
    return True


def _read_json(file: Path) -> dict:
    try:
        if isinstance(found := json.loads(file.read_text()), dict):
            return found
    except ValueError:
        pass
    raise InputError(f"{file} is damaged: choose another --workdir, or remove that folder")


def _difference(old: Any, new: Any, at: str = "config") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *new]:
            if key not in old or key not in new:
                return f"{'no ' if key not in old else ''}{at}.{key}"
            if found := _difference(old[key], new[key], f"{at}.{key}"):
                return found
        return ""
    return "" if old == new else f"{at}={old}, this command has {new}"


def _rehearse(stages: dict[str, Any], devices: int) -> None:
    """Traces every stage on shapes alone, so that a bad option of the last one is refused before the first is trained."""

    def all_stages():
        results = {}
        for name, stage in stages.items():
            given = stage.given(results)
            check_stage(name, stage, given)
            if stage.batch % devices:
                raise InputError(
                    f"stage {name!r} has batches of {stage.batch} images: expected a multiple of {devices}, the devices"
                )
            state = stage.method.init(jax.random.key(0), blank_batch(stage), given)
            state, _ = stage.method.step(state, blank_batch(stage), jax.random.key(0))
            weights = {n: {"params": params, "stats": stats} for n, (params, stats) in stage.method.weights(state).items()}
            members = jax.tree.map(lambda x, n=stage.members: jnp.broadcast_to(x, (n, *x.shape)), weights)
            results[name] = Result(members, {}, name, 0)

    jax.eval_shape(all_stages)


def _make_folder(folder: Path) -> None:
    try:
        (folder / "models").mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(
            f"--workdir={folder} cannot be written ({error.strerror}): expected a place for the run's folder"
        ) from None


def _mesh(config: Any) -> Mesh | None:
    there = jax.device_count()
    count = config.devices or there
    if count > there:
        raise InputError(f"--config.devices={count} is not accepted: expected 0 to {there}, the devices of this machine")
    if config.data.batch % count:
        raise InputError(f"--config.data.batch={config.data.batch} is not accepted: expected a multiple of {count}, the devices")
    if count == 1:
        return None
    return jax.make_mesh((count, 1), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto), devices=jax.devices()[:count])


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


def _results(results: dict[str, Result]) -> dict:
    found = {}
    for stage, result in results.items():
        for measure, values in result.measures.items():
            spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
            found[f"{stage}/{measure}"] = {
                "mean": _finite(np.mean(values)),
                "std": _finite(spread),
                "values": [_finite(v) for v in values],
            }
    return found


def _finite(value: Any) -> float | None:
    """A number that JSON knows."""
    return float(value) if np.isfinite(value) else None


def _comparisons(found: dict, pairs: Sequence[tuple[str, str]]) -> list[dict]:
    """Paired differences over seeds with their 95% intervals."""
    compared = []
    for name, baseline in pairs:
        a, b = found[name]["values"], found[baseline]["values"]
        if len(a) == len(b) > 1 and None not in [*a, *b]:
            mean, low, high = paired_interval(a, b)
            compared.append({"result": name, "baseline": baseline, "mean": mean, "low": low, "high": high})
    return compared


def _protocol(config: Any, experiment: Any) -> dict:
    protocol = {
        "data": config.data.source,
        "train_images": experiment.dataset.train.size,
        "validation_images": 0 if experiment.dataset.val is None else experiment.dataset.val.size,
        "test_images": experiment.dataset.test.size,
        "step": "last" if config.select == "last" else "best validation accuracy, mean over seeds",
        "seeds_share": config.seeds_share,
        "precision": config.precision,
    }
    if "labels_per_class" in config:
        protocol["student_labels_per_class"] = config.labels_per_class or "all"
    if "teacher" in config:
        protocol["teacher"] = config.teacher or "trained in this run with all labels, one seed, shared by all students"
    return protocol


def _git_commit() -> str | None:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=cli.ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None


def _deterministic() -> bool:
    return jax.default_backend() != "gpu" or "xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", "").lower()
