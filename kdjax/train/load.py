"""Trained networks on disk, and the way back to a Net."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdjax import models
from kdjax.core import InputError, Net, nearest
from kdjax.core.files import read_json
from kdjax.core.paths import user_path
from kdjax.core.printable import printable
from kdjax.train.checkpoint import read_finished, read_model
from kdjax.train.members import member
from kdjax.train.weight_files import check_same


def load(
    run_dir: str | Path, stage: str | None = None, *, network: str | None = None, member_number: int = 0
) -> tuple[Net, Any, Any]:
    """A trained network of a run.

    Args:
      run_dir: the run's folder (`--workdir`).
      stage: which stage; the last one if none is named.
      network: which of its networks; the first if none is named.
      member_number: which seed, counted from 0.

    Returns:
      `(net, params, stats)`; `net.apply(params, stats, images, train=False)` takes images `[B, H, W, C]` in [0, 1], or a
      generator latents `[B, latent]`, standard normal.

    Raises:
      InputError: one line that says what is missing or damaged.
    """
    specification, params, stats = read_run(run_dir, stage, network=network, member_number=member_number)
    return models.build(specification), params, stats


def read_run(
    run_dir: str | Path, stage: str | None = None, *, network: str | None = None, member_number: int = 0
) -> tuple[dict, Any, Any]:
    """As `load`, but with the specification of the network in the place of the Net."""
    run_dir = user_path(run_dir)
    place, weights, notes = _read_stage(run_dir, stage)
    if network is not None and network not in weights:
        raise InputError(f"network {network!r} is not in {place}; accepted: {nearest(network, weights)}")
    name = network or next(iter(weights), "")
    specification = _mapping(notes, "nets").get(name)
    if specification is None:
        raise InputError(f"network {name!r} in {place} is not one of kdjax's own: rebuild it yourself around its weights")
    members = jax.tree.leaves(weights[name])[0].shape[0]
    if not 0 <= member_number < members:
        raise InputError(f"member_number={member_number} is not accepted: the run has members 0 to {members - 1}")
    one = member(weights[name], member_number)
    try:
        models.build(specification)
        if "params" not in one:
            raise InputError("it has no params")
        if shape := _seen(_about(run_dir)):
            check_same(specification, one["params"], one["stats"], shape)
    except InputError as error:
        raise InputError(printable(f"{place} is refused: network {name!r}: {error}")) from None
    return specification, one["params"], one["stats"]


def specifications(run_dir: str | Path, stage: str | None = None) -> dict[str, dict]:
    """What the networks of a finished stage are made from, by name; of the last stage if none is named.

    Raises:
      InputError: one line that says what is missing or damaged.
    """
    _, weights, notes = _read_stage(user_path(run_dir), stage)
    nets = _mapping(notes, "nets")
    return {name: nets[name] for name in weights if isinstance(nets.get(name), dict)}


def read_samples(run_dir: str | Path, stage: str | None = None) -> np.ndarray | None:
    """The images `[N, H, W, C]` to look at that a finished stage has kept, of its first member, row by row; None without any.

    Args:
      run_dir: the run's folder.
      stage: which stage; the last one if none is named.

    Raises:
      InputError: one line that says what is missing or damaged.
    """
    place, _, _ = _read_stage(user_path(run_dir), stage)
    kept = read_finished(place, None)[1].get("samples")
    return None if kept is None else kept.reshape(-1, *kept.shape[-3:])


def count_members(run_dir: Path) -> int:
    """How many members the last stage of a run has."""
    stages = _done(run_dir, _about(run_dir))
    weights = read_model(run_dir / "models" / stages[-1])[0] if stages else {}
    return len(jax.tree.leaves(weights)[0]) if weights else 1


def _read_stage(run_dir: Path, stage: str | None) -> tuple[Path, dict, dict]:
    """Where the networks of a stage are, the networks, and the notes that were saved with them."""
    done = _done(run_dir, _about(run_dir))
    if not done:
        raise InputError(f"{run_dir} holds no finished run: expected a folder that launch/main.py wrote as its --workdir")
    if stage is not None and stage not in done:
        raise InputError(f"stage {stage!r} is not in {run_dir}; accepted: {nearest(stage, done)}")
    place = run_dir / "models" / (stage or done[-1])
    weights, notes = read_model(place)
    weights.pop("samples", None)
    return place, weights, notes


def _done(run_dir: Path, about: Mapping) -> list[str]:
    """The finished stages, in order."""
    folder = run_dir / "models"
    here = {p.name for p in folder.iterdir() if p.is_dir()} if folder.is_dir() else set()
    return [name for name in about["stages"] if name in here]


def _about(run_dir: Path) -> dict:
    """The records of a run, as far as they are needed here."""
    file = run_dir / "config.json"
    if not file.is_file():
        return {"stages": []}
    about = read_json(file, advice := "expected the records of a run, with its stages")
    stages = about.get("stages")
    if not isinstance(stages, list) or not all(isinstance(x, str) for x in stages):
        raise InputError(f"{file} is damaged: {advice}")
    return about


def _seen(about: Mapping) -> tuple[int, ...]:
    """The shape of one image as the networks of a run see it; () where its records do not tell."""
    data = _mapping(about, "data")
    shape, crop = data.get("shape"), data.get("crop") or 0
    if not isinstance(shape, list) or len(shape) != 3:
        return ()
    seen = (crop, crop, shape[2]) if crop else tuple(shape)
    return seen if all(type(n) is int and 0 < n <= models.LARGEST_SIZE for n in seen) else ()


def _mapping(holder: Mapping, name: str) -> Mapping:
    found = holder.get(name)
    return found if isinstance(found, Mapping) else {}
