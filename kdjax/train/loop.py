"""The one training loop."""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax.core import InputError, join, split
from kdjax.data import Source, epoch_of, epoch_rows, resident
from kdjax.train import fingerprint
from kdjax.train.block import block
from kdjax.train.checkpoint import Checkpoints, read_model
from kdjax.train.collect import collector
from kdjax.train.members import stack, unstack
from kdjax.train.records import Records
from kdjax.train.stage import Result, Stage


class Stopped(Exception):
    """The run was asked to stop, has saved, and can be started again."""


class Diverged(RuntimeError):
    """The loss is not finite in any member."""


class Run(NamedTuple):
    """What all stages of a run share.

    Attributes:
      folder: the run's folder.
      records: its records.
      seed: member i starts from seed + i.
      data_seed: seed of the order, of augmentation and, with shared batches, of noise.
      share: `"batch"`: members see the same batches and differ in their initialisation; `"none"`: everything differs.
      how: `"map"` or `"vmap"`.
      select: `"last"` or `"best"`, the step that results are taken at; best is by validation accuracy, mean over members.
      splits: `val` and `test` (and `train`) as sources, for evaluation.
      digest: of the data.
      mesh: devices, or None for one.
      cache: folder of finished stages that runs share, or None.
      stop: asked between blocks.
      say: shows one line.
      progress: `(stage, step, line of measurements)`, after every block.
    """

    folder: Path
    records: Records
    seed: int
    data_seed: int
    share: str
    how: str
    select: str
    splits: dict[str, Source]
    digest: str
    mesh: Mesh | None
    cache: Path | None
    stop: Callable[[], bool]
    say: Callable[[str], None]
    progress: Callable[[str, int, dict], None]


def run_stages(stages: dict[str, Stage], run: Run) -> dict[str, Result]:
    """Runs stages in order; what is finished is read back, what was begun is resumed.

    Raises:
      InputError: when something given, or found on disk, is refused.
      Stopped: after a clean save, when `run.stop` asks for it.
      Diverged: when no member has a finite loss.
    """
    place = _placed(run.mesh)
    splits = {name: place(resident(source)) for name, source in run.splits.items()}
    results: dict[str, Result] = {}
    for name, stage in stages.items():
        given = stage.given(results)
        identity = _identity(stage, run, {k: v.source for k, v in given.items()})
        finished = _finished(name, stage, run, identity, list(stages))
        results[name] = finished or _train(name, stage, run, identity, given, results, splits, list(stages))
    return results


def _identity(stage: Stage, run: Run, given: dict[str, str]) -> str:
    """The fingerprint of all that a stage's result depends on."""
    shared = {"seed": run.seed, "data_seed": run.data_seed, "share": run.share, "how": run.how, "select": run.select}
    own = {"steps": stage.steps, "batch": stage.batch, "pace": stage.pace, "members": stage.members, "recipe": stage.recipe}
    devices = 1 if run.mesh is None else run.mesh.size
    whole = {**shared, **own, "given": given, "data": run.digest, "mesh": devices, "code": fingerprint.of_code()}
    return fingerprint.of_json({**whole, "platform": fingerprint.of_platform()})


def _finished(name: str, stage: Stage, run: Run, identity: str, order: list[str]) -> Result | None:
    """The result of a stage that this run, or another one with the same cache, has finished."""
    own = run.folder / "models" / name
    kept = None if run.cache is None else run.cache / identity
    if not own.exists() and kept is not None and kept.exists():
        try:
            _, notes = read_model(kept, identity)
        except InputError as error:
            run.say(f"cached {error}")
            return None
        run.records.cut(order, name, -1)
        run.records.add(notes["lines"])
        partial_copy = own.with_name(f".{name}.copy")
        shutil.rmtree(partial_copy, ignore_errors=True)
        shutil.copytree(kept, partial_copy)
        partial_copy.rename(own)
        run.say(f"{name}: taken from the cache of finished stages")
    if not own.exists():
        return None
    try:
        weights, notes = read_model(own, identity)
    except InputError as error:
        run.say(str(error))
        shutil.rmtree(own)
        return None
    run.progress(name, stage.steps, {})
    picture = weights.pop("picture", None)
    return Result(weights, notes["measures"], notes["digest"], notes["step"], picture)


def _train(name, stage, run, identity, given, results, splits, order) -> Result:
    if (missing := [n for n in stage.method.needs if n not in given]):
        raise InputError(f"stage {name!r} needs {', '.join(missing)}; it was given {', '.join(given) or 'nothing'}")
    place = _placed(run.mesh)
    own = run.share == "none" and stage.members > 1
    arrays = None if stage.source is None else place(resident(stage.source))
    given = place(given)
    state = _initial(stage, run, given, results, arrays)
    best = "val" if run.select == "best" else None
    checkpoints = Checkpoints(run.folder / "checkpoints" / name, identity, best=best)
    try:
        moving, frozen = split(state)
        found = checkpoints.newest(moving, run.say)
        step, notes = 0, {"begun": True}
        if found:
            step, moving, notes = found
            run.say(f"{name}: resumed at step {step} of {stage.steps}")
        run.records.cut(order, name, step if found else -1)
        moving, frozen = place(moving), place(frozen)
        compiled = block(stage, state, run.how, own, run.mesh)
        ask = partial(collector(stage.method, run.how, splits))
        validation = "val" if "val" in splits else "test"
        keys = _noise_keys(stage, run, own)
        while step < stage.steps:
            if stage.refresh and step % stage.refresh_every == 0:
                moving = place(_refreshed(stage, join(moving, frozen), step, jax.random.fold_in(jax.random.key(run.data_seed), 2)))
            began = time.perf_counter()
            k = min(stage.pace.block - step % stage.pace.block, stage.steps - step)
            rows, epochs = _rows(stage, run, own, step, k)
            moving, metrics = compiled(moving, frozen, arrays, keys, rows, epochs, np.int32(step))
            line = {"stage": name, "step": step + k, "epoch": int(epochs[-1]) + 1} | jax.tree.map(np.asarray, metrics)
            step += k
            _check_finite(name, step, line, run)
            run.records.time(name, step, seconds=(spent := time.perf_counter() - began), images_per_second=k * stage.batch / spent)
            due = step == stage.steps
            if due or step % stage.pace.evaluate == 0:
                measured = stage.evaluate(partial(ask, join(moving, frozen)), validation, False)
                line |= {f"{validation}_{measure}": value for measure, value in measured.items()}
            run.records.add([line])
            run.progress(name, step, run.records.lines[-1])
            stopping = run.stop()
            if due or stopping or step % stage.pace.save == 0:
                scored = {"val": float(np.mean(line["val_accuracy"]))} if best and "val_accuracy" in line else {}
                checkpoints.save(step, moving, notes, scored)
            if stopping and not due:
                raise Stopped(f"stopped by a signal; {name} is saved at step {step} of {stage.steps}: start the same command to go on")
        if best and (chosen := checkpoints.best()) != step:
            moving, _ = checkpoints.restore(chosen, moving)
            step = chosen
        state = join(place(moving), frozen)
        measures = stage.evaluate(partial(ask, state), "test", True)
    finally:
        checkpoints.close()
    return _keep(name, stage, run, identity, state, {f"test_{k}": _floats(v) for k, v in measures.items()}, step)


def _keep(name, stage, run, identity, state, measures, step) -> Result:
    """Saves the networks of a finished stage, in the run's folder and in the shared cache."""
    weights = _networks(stage, state)
    digest = fingerprint.of_tree(weights)
    first = unstack(state)[0]
    picture = None if stage.picture is None else np.asarray(stage.picture(first, jax.random.key(run.data_seed)))
    lines = run.records.of(name)
    notes = {"nets": dict(stage.nets), "measures": measures, "digest": digest, "step": step, "lines": lines}
    whole = weights if picture is None else {**weights, "picture": picture}
    own = run.folder / "models" / name
    targets = [own] if run.cache is None else [own, run.cache / identity]
    for target in targets:
        if target != own and target.exists():
            continue
        writing = target.with_name(f".{target.name}.partial")
        try:
            shutil.rmtree(writing, ignore_errors=True)
            saved = Checkpoints(writing, identity)
            saved.save(0, whole, notes, {})
            saved.close()
            writing.rename(target)
        except OSError as error:
            if target == own:
                raise
            run.say(f"the cache of finished stages cannot be written ({error}); going on without it")
    return Result(weights, measures, digest, step, picture)


def _networks(stage: Stage, state: Any) -> dict[str, dict]:
    singles = [stage.method.weights(one) for one in unstack(state)]
    names = [n for n in singles[0] if n not in stage.method.needs]
    parts = [{n: {"params": one[n][0], "stats": one[n][1]} for n in names} for one in singles]
    return jax.tree.map(lambda *xs: np.stack([np.asarray(x) for x in xs]), *parts)


def _initial(stage: Stage, run: Run, given: dict, results: dict, arrays: dict | None) -> Any:
    """The State at step 0, members stacked."""
    rows = np.arange(stage.batch, dtype=np.int32)

    def first_batch(key):
        if arrays is None:
            return {"index": rows}
        return stage.augment(jax.random.split(key, stage.batch), jax.tree.map(lambda x: x[: stage.batch], arrays))

    shapes = jax.eval_shape(first_batch, jax.random.key(0))
    init = jax.jit(lambda key: stage.method.init(key, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), {
        name: jax.tree.map(jnp.zeros_like, value) for name, value in given.items()
    }))
    states = []
    for i in range(stage.members):
        # Frozen parts are traced as zeros and put back, so that no compiled program holds a teacher's weights.
        moving, blank = split(init(jax.random.fold_in(jax.random.key(run.seed + i), 0)))
        by_source = {value.source: value for value in given.values()}
        one = join(moving, [by_source[x.source] for x in blank])
        states.append(stage.adopt(one, results) if stage.adopt else one)
    state = stack(states)
    if stage.hyper:
        state = state._replace(hyper={k: jnp.asarray(v, jnp.float32) for k, v in stage.hyper.items()})
    return state


def _noise_keys(stage: Stage, run: Run, own: bool) -> jax.Array:
    shared = jax.random.key(run.data_seed)
    if run.share == "batch":
        return shared
    keys = [jax.random.fold_in(shared, run.seed + i + 1) for i in range(stage.members)]
    return jnp.stack(keys) if own else keys[0]


def _rows(stage: Stage, run: Run, own: bool, step: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and epochs of the next k steps."""
    steps = range(step, step + k)
    if stage.source is None:
        shape = (k, stage.members, stage.batch) if own else (k, stage.batch)
        return np.broadcast_to(np.arange(stage.batch, dtype=np.int32), shape), np.zeros(k, np.int32)
    size, batch = stage.source.size, stage.batch
    epochs = np.array([epoch_of(s, size=size, batch=batch) for s in steps], np.int32)

    def of(seed):
        return np.stack([epoch_rows(seed, s, size=size, batch=batch) for s in steps])

    if run.share == "batch":
        return of(run.data_seed), epochs
    orders = [of((run.data_seed << 32) + run.seed + i + 1) for i in range(stage.members)]
    return (np.stack(orders, 1) if own else orders[0]), epochs


def _refreshed(stage: Stage, state: Any, step: int, key: jax.Array) -> Any:
    assert stage.refresh is not None
    keys = [jax.random.fold_in(jax.random.fold_in(key, step), i) for i in range(stage.members)]
    return split(stack([stage.refresh(one, step, k) for one, k in zip(unstack(state), keys, strict=True)]))[0]


def _placed(mesh: Mesh | None) -> Callable:
    """Puts a pytree on the device, or a copy on every device of the mesh."""
    return jax.device_put if mesh is None else partial(jax.device_put, device=NamedSharding(mesh, P()))


def _check_finite(name, step, line, run):
    losses = np.concatenate([np.ravel(v) for k, v in line.items() if k.endswith("loss")])
    if not np.isfinite(losses).any():
        raise Diverged(f"{name} diverged: the loss at step {step} is not finite; lower its learning rate")
    if not np.isfinite(losses).all():
        run.say(f"{name}: the loss of some members is not finite at step {step}")


def _floats(values):
    return [float(v) for v in np.ravel(values)]
