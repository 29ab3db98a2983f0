"""Finished stages on disk: the way out and the way back."""

from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.core import Frozen, InputError
from kdjax.core.files import copy_folder, remove, remove_partial
from kdjax.core.tree_paths import path_name
from kdjax.data import one_row
from kdjax.train import fingerprint
from kdjax.train.checkpoint import Checkpoints, read_finished
from kdjax.train.devices import within_process
from kdjax.train.identity import Identity
from kdjax.train.kept_state import beside_networks, networks, state_shapes, whole_state
from kdjax.train.members import unstack
from kdjax.train.processes import first, gathered
from kdjax.train.run import Run
from kdjax.train.stage import Result, Stage

_NOTES = ("measures", "digest", "step", "points", "lines", "damaged", "measured", "machine")


def clear(run: Run) -> None:
    """Removes what killed runs were writing here and in the cache that runs share."""
    for folder in (run.folder, run.folder / "models", run.cache):
        if folder is not None:
            remove_partial(folder)


def machine_of(run: Run) -> str:
    """The fingerprint of the machine: what a bit-for-bit repetition needs to be the same besides."""
    return fingerprint.of_json({**run.devices.label, **fingerprint.of_platform()})


class Finished(NamedTuple):
    """A finished stage that was read back.

    Attributes:
      result: what it leaves to later stages.
      state: its State with members, where the code of its measures is not what measured it, so that it is to be measured again.
      shared: whether it may be shared with other runs on this machine.
    """

    result: Result
    state: Any = None
    shared: bool = False


def read_back(name: str, stage: Stage, run: Run, identity: Identity, given: dict[str, Frozen], order: list[str]) -> Finished | None:
    """A stage that this run, or another one with the same cache, has finished. All processes get the same."""
    own = run.folder / "models" / name
    if not first(lambda: own.exists() or _from_cache(name, stage, run, identity, given)):
        return None
    try:
        found = _read(own, stage, run, identity, given)
    except InputError as error:
        found = None
        run.say(str(error))
    if not all(gathered(found is not None)):
        return None
    assert found is not None
    weights, beside, state, notes = found
    run.records.put(order, name, notes["lines"])
    run.damaged.update(notes["damaged"])
    run.progress(name, stage.steps, {})
    images = beside.get("samples"), beside.get("frames")
    result = Result(weights, notes["measures"], notes["digest"], notes["step"], *images, tuple(notes["points"]))
    return Finished(result, state, notes["machine"] == machine_of(run))


def keep(
    name: str,
    stage: Stage,
    run: Run,
    identity: Identity,
    state: Any,
    measures: dict[str, list[float]],
    step: int,
    points: tuple[dict, ...],
    *,
    share: bool,
    frames: dict[str, Any] | None = None,
) -> Result:
    """Saves the networks of a finished stage in the run's folder and, with `share`, in the cache."""
    singles = unstack(within_process(state))
    weights = jax.tree.map(lambda *xs: np.stack([np.asarray(x) for x in xs]), *(networks(stage, one) for one in singles))
    digest = fingerprint.of_tree(weights)
    samples = None if stage.samples is None else np.asarray(stage.samples(singles[0], jax.random.key(run.data_seed)), np.float32)
    notes = {"nets": dict(stage.nets), "measures": measures, "digest": digest, "step": step, "points": points}
    notes |= {"lines": run.records.of(name), "damaged": sorted(run.damaged)}
    notes |= {"measured": identity.measures, "machine": machine_of(run) if share else ""}
    beside = {name: x for name, x in (("samples", samples), ("frames", frames)) if x is not None}
    if not stage.choose and (state := beside_networks(stage, singles, _batch(run))):
        beside["state"] = state
    first(lambda: _write(name, run, identity, OrderedDict(weights, **beside), notes, share))
    return Result(weights, measures, digest, step, samples, frames, points)


def _from_cache(name: str, stage: Stage, run: Run, identity: Identity, given: dict[str, Frozen]) -> bool:
    """Whether another run has left this stage; it is copied into this one. What this code has measured comes first."""
    kept = _cached(run, identity)
    if kept is None:
        return False
    others = sorted(kept.parent.glob(f"{kept.name.partition('-')[0]}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for place in [kept] * kept.exists() + [other for other in others if other != kept and not stage.choose]:
        try:
            _read(place, stage, run, identity, given)
        except InputError as error:
            run.say(f"cached {error}")
            remove(place)
            continue
        copy_folder(place, run.folder / "models" / name)
        run.say(f"{name}: taken from the cache of finished stages")
        return True
    return False


def _write(name: str, run: Run, identity: Identity, whole: Any, notes: dict, share: bool) -> None:
    own = run.folder / "models" / name
    writing = own.with_name(f".{name}.partial")
    remove(writing)
    writing.mkdir()
    saved = Checkpoints(writing, identity)
    saved.save(0, whole, notes)
    saved.close()
    remove(own)  # a damaged one, or one of other measures
    writing.rename(own)
    kept = _cached(run, identity)
    if share and kept is not None and not kept.exists():
        try:
            copy_folder(own, kept)
        except OSError as error:
            if not kept.exists():  # another run may have been faster
                run.say(f"the cache of finished stages cannot be written ({error}); going on without it")


def _cached(run: Run, identity: Identity) -> Path | None:
    """Where a finished stage lies: by what it follows from, and by what it was measured with."""
    if run.cache is None:
        return None
    return run.cache / f"{fingerprint.of_json([identity.digest, machine_of(run)])[:40]}-{identity.measures[:24]}"


def _read(folder: Path, stage: Stage, run: Run, identity: Identity, given: dict[str, Frozen]) -> tuple[Any, dict, Any, dict]:
    """`(weights, what lies beside, state or None, notes)` of a finished stage; the state where it is to be measured again.

    Raises:
      InputError: where it is damaged, holds other networks, or cannot be measured again.
    """
    found, beside, notes = read_finished(folder, identity)
    if missing := [x for x in _NOTES if x not in notes]:
        raise InputError(f"{folder} is refused: its manifest holds no {missing[0]}")
    weights = _like(jax.eval_shape(lambda state: networks(stage, state), state_shapes(stage, given)), found, folder)
    if notes["measured"] == identity.measures:
        return weights, beside, None, notes
    try:
        if stage.choose:
            raise InputError("its measures are others than those by which it chose among the points of a sweep")
        state = whole_state(stage, given, weights, beside.get("state", {}), _batch(run))
    except InputError as error:
        raise InputError(f"{folder} is refused: {error}") from None
    return weights, beside, state, notes


def _batch(run: Run) -> Any:
    """A batch of one row, as it is read."""
    return one_row(run.splits["test"])


def _like(shapes: Any, found: dict, folder: Path) -> Any:
    """The arrays of nested dicts in the structure of `shapes`: lists, other keys and empty parts are not lost."""

    def pick(path, shape):
        where = path_name(path)
        node: Any = found
        for part in where.split("/"):
            node = node[part] if isinstance(node, dict) and part in node else None
        holds = "none" if node is None or isinstance(node, dict) else f"{node.dtype.name}{list(node.shape[1:])}"
        if holds != (wanted := f"{shape.dtype.name}{list(shape.shape)}"):
            raise InputError(f"{folder} is refused: it holds other networks, {where} is {holds} where {wanted} is expected")
        return node

    like = jax.tree_util.tree_map_with_path(pick, shapes)
    if len(jax.tree.leaves(like)) != (holds := len(jax.tree.leaves(found))):
        raise InputError(
            f"{folder} is refused: it holds other networks, {holds} arrays where {len(jax.tree.leaves(like))} are expected"
        )
    return like
