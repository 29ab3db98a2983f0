"""Finished stages on disk: their fingerprint, the way out and the way back."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdjax.core import Frozen, InputError
from kdjax.core.files import copy_folder, remove, remove_partial
from kdjax.train import fingerprint
from kdjax.train.checkpoint import Checkpoints, read_model
from kdjax.train.devices import within_process
from kdjax.train.members import unstack
from kdjax.train.processes import first, gathered
from kdjax.train.run import Run
from kdjax.train.stage import Result, Stage, blank_batch, score_of


def identity_of(stage: Stage, run: Run, given: dict[str, Frozen], results: dict[str, Result]) -> str:
    """The fingerprint of all that a stage's result depends on, but for the machine."""
    shared = {
        "seed": run.seed,
        "data_seed": run.data_seed,
        "share": run.share,
        "how": run.how,
        "select": "last" if stage.intermediate else run.select,
        "test_curve": run.test_curve,
    }
    own = {"steps": stage.steps, "batch": stage.batch, "pace": stage.pace, "members": stage.members, "recipe": stage.recipe}
    numbers = {name: np.asarray(values, np.float64).tolist() for name, values in (stage.hyper or {}).items()}
    weights = {name: value.source for name, value in given.items()}
    adopted = results[stage.warm_start_from].digest if stage.warm_start else ""
    own |= {"seeds": stage.seeds, "choose": stage.choose, "score": score_of(stage), "refresh": stage.refresh_every}
    cache = stage.teacher_cache and [*stage.teacher_cache[1:4], stage.teacher_cache.dtype]
    own |= {"teacher_cache": cache}
    more = {"hyper": numbers, "given": weights, "adopted": adopted, "nets": dict(stage.nets)}
    more |= {"start": [one.source() for one in stage.start]} if stage.start else {}
    return fingerprint.of_json({**shared, **own, **more, "data": run.digest, "code": [fingerprint.of_code(), run.code]})


def clear(run: Run) -> None:
    """Removes what killed runs were writing here and in the cache that runs share."""
    for folder in (run.folder, run.folder / "models", run.cache):
        if folder is not None:
            remove_partial(folder)


def machine_of(run: Run) -> str:
    """The fingerprint of the machine: what a bit-for-bit repetition needs to be the same besides."""
    return fingerprint.of_json({**run.devices.label, **fingerprint.of_platform()})


def read_back(name: str, stage: Stage, run: Run, identity: str, given: dict[str, Frozen], order: list[str]) -> Result | None:
    """The result of a stage that this run, or another one with the same cache, has finished. All processes get the same."""
    own = run.folder / "models" / name

    def shapes():
        return jax.eval_shape(lambda key: _networks(stage, stage.method.init(key, blank_batch(stage), given)), jax.random.key(0))

    if not first(lambda: own.exists() or _from_cache(name, run, identity, shapes)):
        return None
    try:
        weights, samples, notes = _read(own, identity, shapes)
    except InputError as error:
        weights, samples, notes = None, None, {}
        run.say(str(error))
    if not all(gathered(weights is not None)):
        return None
    assert weights is not None
    run.records.put(order, name, notes["lines"])
    run.damaged.update(notes["damaged"])
    run.progress(name, stage.steps, {})
    return Result(weights, notes["measures"], notes["digest"], notes["step"], samples, tuple(notes["points"]))


def keep(
    name: str,
    stage: Stage,
    run: Run,
    identity: str,
    state: Any,
    measures: dict[str, list[float]],
    step: int,
    points: tuple[dict, ...],
    *,
    share: bool,
) -> Result:
    """Saves the networks of a finished stage in the run's folder and, with `share`, in the cache."""
    singles = unstack(within_process(state))
    weights = jax.tree.map(lambda *xs: np.stack([np.asarray(x) for x in xs]), *(_networks(stage, one) for one in singles))
    digest = fingerprint.of_tree(weights)
    samples = None if stage.samples is None else np.asarray(stage.samples(singles[0], jax.random.key(run.data_seed)), np.float32)
    notes = {"nets": dict(stage.nets), "measures": measures, "digest": digest, "step": step, "points": points}
    notes |= {"lines": run.records.of(name), "damaged": sorted(run.damaged)}
    whole = weights if samples is None else OrderedDict(weights, samples=samples)
    first(lambda: _write(name, run, identity, whole, notes, share))
    return Result(weights, measures, digest, step, samples, points)


def _from_cache(name: str, run: Run, identity: str, shapes: Callable) -> bool:
    """Whether another run has left this stage; it is copied into this one."""
    kept = _cached(run, identity)
    if kept is None or not kept.exists():
        return False
    try:
        _read(kept, identity, shapes)
    except InputError as error:
        run.say(f"cached {error}")
        remove(kept)
        return False
    copy_folder(kept, run.folder / "models" / name)
    run.say(f"{name}: taken from the cache of finished stages")
    return True


def _write(name: str, run: Run, identity: str, whole: Any, notes: dict, share: bool) -> None:
    own = run.folder / "models" / name
    writing = own.with_name(f".{name}.partial")
    remove(writing)
    writing.mkdir()
    saved = Checkpoints(writing, identity)
    saved.save(0, whole, notes)
    saved.close()
    remove(own)  # a damaged one
    writing.rename(own)
    kept = _cached(run, identity)
    if share and kept is not None and not kept.exists():
        try:
            copy_folder(own, kept)
        except OSError as error:
            if not kept.exists():  # another run may have been faster
                run.say(f"the cache of finished stages cannot be written ({error}); going on without it")


def _cached(run: Run, identity: str) -> Path | None:
    return None if run.cache is None else run.cache / fingerprint.of_json([identity, machine_of(run)])


def _networks(stage: Stage, state: Any) -> OrderedDict:
    """The networks that a stage trains, in the order of the method: the first is the one to ship."""
    found = stage.method.weights(state)
    # Plain dicts come out of tree maps in alphabetical order.
    return OrderedDict((n, {"params": p, "stats": s}) for n, (p, s) in found.items() if n not in stage.method.needs)


def _read(folder: Path, identity: str, shapes: Callable) -> tuple[Any, Any, dict]:
    """`(weights, samples or None, notes)` of a finished stage; `shapes()` is what one member of its networks looks like.

    Raises:
      InputError: where it is damaged, or holds other networks.
    """
    found, notes = read_model(folder, identity)
    if missing := [x for x in ("measures", "digest", "step", "points", "lines", "damaged") if x not in notes]:
        raise InputError(f"{folder} is refused: its manifest holds no {missing[0]}")
    samples = found.pop("samples", None)
    return _like(shapes(), found, folder), samples, notes


def _like(shapes: Any, found: dict, folder: Path) -> Any:
    """The arrays of nested dicts in the structure of `shapes`: lists, other keys and empty parts are not lost."""

    def pick(path, shape):
        where = jax.tree_util.keystr(path, simple=True, separator="/")
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
