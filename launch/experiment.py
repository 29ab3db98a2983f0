"""One experiment from its config to its records: all side effects of a run."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from kdjax.core import InputError
from kdjax.evaluate import paired_interval
from kdjax.train import HOW, Records, Result, Run, resolve, run_stages
from kdjax.train.files import write_json
from kdjax.train.fingerprint import of_platform
from launch import cli, plots
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
        print(f"{folder} is finished:")
        return summary_table(json.loads((folder / "summary.json").read_text()))
    _check(config)
    experiment = build(config)
    mesh = _mesh(config)
    how = resolve(config.members, config.seeds)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    dataset = experiment.dataset
    about = {
        **source, "config": plain, "stages": list(experiment.stages), "members": how, "platform": of_platform(),
        "git": _git_commit(), "deterministic": _deterministic(),
        "data": {"source": config.data.source, "digest": dataset.digest, "names": list(dataset.names), "shape": list(dataset.shape)},
    }  # fmt: skip
    write_json(folder / "config.json", about)
    splits = {"train": dataset.train, "test": dataset.test} | ({} if dataset.val is None else {"val": dataset.val})
    stop = _on_signals()
    began = time.perf_counter()
    with Progress(folder, experiment.stages) as progress:
        results = run_stages(
            experiment.stages,
            Run(
                folder=folder, records=Records(folder), seed=config.seed, data_seed=config.data.seed,
                share=config.seeds_share, how=how, select=config.select, splits=splits, digest=dataset.digest, mesh=mesh,
                cache=_stage_cache(), stop=stop, say=progress.say, progress=progress.advance,
            ),
        )  # fmt: skip
    summary = {
        "method": config.method.name if "method" in config else source["file"].removesuffix(".py"),
        "config": source,
        "data": about["data"]["source"],
        "steps": {name: stage.steps for name, stage in experiment.stages.items()},
        "seeds": [config.seed + i for i in range(config.seeds)],
        "protocol": _protocol(config, experiment),
        "results": _results(results),
        "comparisons": _comparisons(results, experiment.compare, experiment.measure),
        "wall_seconds": round(time.perf_counter() - began, 1),
        "device": jax.devices()[0].device_kind,
    }
    plots.draw(folder, Records(folder).lines, summary, results, experiment)
    write_json(folder / "summary.json", summary)
    summary_table(summary)
    print(f"kept in {folder}: summary.json, metrics.jsonl, plots/, models/, checkpoints/")


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
    try:
        kept = json.loads((folder / "config.json").read_text())
        old, name = kept["config"], kept["file"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{folder / 'config.json'} is damaged: choose another --workdir, or remove that folder") from None
    if name != source["file"] or kept["variant"] != source["variant"]:
        raise InputError(f"--workdir={folder} holds a run of {name}:{kept['variant']}: choose another --workdir")
    if different := _difference(old, plain):
        raise InputError(f"--workdir={folder} holds a run with {different}: choose another --workdir, or repeat its command")
    return True


def _difference(old: Any, new: Any, at: str = "config") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *new]:
            if key not in old or key not in new:
                return f"{'no ' if key not in old else ''}{at}.{key}"
            if found := _difference(old[key], new[key], f"{at}.{key}"):
                return found
        return ""
    return "" if old == new else f"{at}={old}, this command has {new}"


def _check(config: Any) -> None:
    accepted = {"seeds_share": ("batch", "none"), "members": HOW, "parallel": ("jit",), "select": ("last", "best")}
    for name, values in accepted.items():
        if config[name] not in values:
            raise InputError(f"--config.{name}={config[name]!r} is not accepted: expected {', '.join(values)}")
    for name, value, least in (
        ("seeds", config.seeds, 1), ("seed", config.seed, 0), ("devices", config.devices, 0),
        ("data.batch", config.data.batch, 1), ("data.seed", config.data.seed, 0), ("data.image_size", config.data.image_size, 0),
    ):  # fmt: skip
        if not least <= value < 2**31:
            raise InputError(f"--config.{name}={value} is not accepted: expected a whole number of at least {least}")
    if config.select == "best" and config.data.val_fraction == 0:
        raise InputError("--config.select=best is not accepted: it needs validation images, --config.data.val_fraction above 0")


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


def _stage_cache() -> Path | None:
    from launch.main import cache_folder

    folder = cache_folder() / "stages"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _on_signals() -> Callable[[], bool]:
    """After SIGTERM or Ctrl-C the run saves at the end of its block; a second Ctrl-C stops at once."""
    asked = []

    def note(number, frame):
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return lambda: bool(asked)


def _results(results: dict[str, Result]) -> dict:
    return {
        f"{stage}/{measure}": {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)) if len(v) > 1 else 0.0, "values": v}
        for stage, result in results.items()
        for measure, v in result.measures.items()
    }


def _comparisons(results: dict[str, Result], pairs, measure: str) -> list[dict]:
    found = []
    for name, baseline in pairs:
        a, b = (results[n].measures[measure] for n in (name, baseline))
        if len(a) == len(b) > 1:
            mean, low, high = paired_interval(a, b)
            found.append({"network": name, "baseline": baseline, "measure": measure, "mean": mean, "low": low, "high": high})
    return found


def _protocol(config: Any, experiment: Any) -> dict:
    return {
        "data": config.data.source,
        "train_images": experiment.dataset.train.size,
        "validation_images": 0 if experiment.dataset.val is None else experiment.dataset.val.size,
        "test_images": experiment.dataset.test.size,
        "step": "last" if config.select == "last" else "best validation accuracy, mean over seeds",
        "seeds_share": config.seeds_share,
        "precision": config.precision,
        "teacher": config.teacher or "trained in this run, one seed, shared by all students",
    }


def _git_commit() -> str | None:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=cli.ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None


def _deterministic() -> bool:
    return jax.default_backend() != "gpu" or "xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", "").lower()


