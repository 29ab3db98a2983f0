"""The one training loop."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax.core import InputError, join, split
from kdjax.data import epoch_of, epoch_rows, resident
from kdjax.train.block import block
from kdjax.train.checkpoint import Checkpoints
from kdjax.train.collect import collector
from kdjax.train.finished import identity_of, keep, machine_of, read_back
from kdjax.train.members import stack, unstack
from kdjax.train.run import Run
from kdjax.train.stage import Result, Stage, blank_batch, check_stage, seeds_of
from kdjax.train.sweep import choose


class Stopped(Exception):  # noqa: N818
    """The run was asked to stop, has saved, and can be started again."""


class Diverged(RuntimeError):  # noqa: N818
    """The loss is not finite in any member."""


def run_stages(stages: dict[str, Stage], run: Run) -> dict[str, Result]:
    """Runs stages in order; what is finished is read back, what was begun is resumed.

    Raises:
      InputError: when something given, or found on disk, is refused.
      Stopped: after a clean save, when `run.stop` asks for it.
      Diverged: when no member has a finite loss.
    """
    for asked, name in ((run.select == "best", "select='best'"), (any(s.choose for s in stages.values()), "a sweep that chooses")):
        if asked and "val" not in run.splits:
            raise InputError(f"{name} is not accepted: it needs validation images")
    (run.folder / "models").mkdir(parents=True, exist_ok=True)
    place = _placed(run.mesh)
    splits = {name: place(resident(source)) for name, source in run.splits.items()}
    results: dict[str, Result] = {}
    for name, stage in stages.items():
        given = stage.given(results)
        check_stage(name, stage, given)
        identity = identity_of(stage, run, given, results)
        finished = read_back(name, stage, run, identity, given, list(stages))
        results[name] = finished or _train(name, stage, run, identity, given, results, splits, list(stages))
    return results


def _train(name, stage, run, identity, given, results, splits, order) -> Result:
    place = _placed(run.mesh)
    own = run.share == "none" and stage.members > 1
    arrays = None if stage.source is None else place(resident(stage.source))
    given = place(given)
    state = _initial(stage, run, given, results)
    best = "val" if run.select == "best" else None
    checkpoints = Checkpoints(run.folder / "checkpoints" / name, identity, best=best)
    try:
        moving, frozen = split(state)
        found = checkpoints.newest(moving, run.say)
        step, notes = 0, {"machines": [machine_of(run)]}
        if found:
            step, moving, notes = found
            run.say(f"{name}: resumed at step {step} of {stage.steps}")
            if machine_of(run) not in notes["machines"]:
                notes["machines"].append(machine_of(run))
                run.say(f"{name}: other devices or versions than before, so the result is not repeated bit for bit")
        run.records.cut(order, name, step if found else -1)
        moving, frozen = place(moving), place(frozen)
        compiled = block(stage, state, run.how, own, run.mesh)
        ask = collector(stage.method, run.how, splits)
        validation = "val" if "val" in splits else "test"
        keys, warned = _noise_keys(stage, run, own), False
        while step < stage.steps:
            if stage.refresh and stage.refresh_every and step % stage.refresh_every == 0:
                moving = place(_refreshed(stage, run, join(moving, frozen), step))
            began = time.perf_counter()
            k = min(stage.pace.block - step % stage.pace.block, stage.steps - step)
            rows, epochs = _rows(stage, run, own, step, k)
            moving, metrics = compiled(moving, frozen, arrays, keys, rows, epochs, np.int32(step))
            line = {"stage": name, "step": step + k, "epoch": int(epochs[-1]) + 1} | jax.tree.map(np.asarray, metrics)
            step += k
            if not _all_finite(name, step, line) and not warned:
                warned = True
                run.say(f"{name}: the loss of some members is not finite at step {step}")
            run.records.time(name, step, seconds=(spent := time.perf_counter() - began), images_per_second=k * stage.batch / spent)
            due = step == stage.steps
            if due or step % stage.pace.evaluate == 0:
                measured = stage.evaluate(partial(ask, join(moving, frozen)), validation, False)
                for asked, measure in (("select='best'", "accuracy" if best else ""), (f"choose={stage.choose!r}", stage.choose)):
                    if measure and measure not in measured:
                        raise InputError(f"{asked} is not accepted: stage {name!r} measures {', '.join(measured)}, no {measure}")
                line |= {f"{validation}_{measure}": value for measure, value in measured.items()}
            run.records.add([line])
            run.progress(name, step, run.records.lines[-1])
            stopping = run.stop()
            if due or stopping or step % stage.pace.save == 0:
                scored = {"val": float(np.mean(line["val_accuracy"]))} if best and "val_accuracy" in line else {}
                checkpoints.save(step, moving, notes, scored)
            if stopping and not due:
                raise Stopped(f"stopped by a signal; {name} is saved at step {step} of {stage.steps}: the same command goes on")
        if best and (chosen := checkpoints.best()) != step:
            moving, _ = checkpoints.restore(chosen, moving)
            step = chosen
        state = join(place(moving), frozen)
        points = ()
        if stage.choose:
            scores = stage.evaluate(partial(ask, state), "val", False)[stage.choose]
            best_members, points = choose(stage.hyper or {}, f"val_{stage.choose}", scores)
            state = stack([unstack(state)[i] for i in best_members])
        measures = _measured("test", stage.evaluate(partial(ask, state), "test", True))
        if "val" in splits:
            measures |= _measured("val", stage.evaluate(partial(ask, state), "val", False))
    finally:
        checkpoints.close()
    return keep(name, stage, run, identity, state, measures, step, points, share=len(notes["machines"]) == 1)


def _measured(split: str, measures: dict) -> dict[str, list[float]]:
    return {f"{split}_{measure}": np.ravel(value).astype(float).tolist() for measure, value in measures.items()}


def _initial(stage: Stage, run: Run, given: dict, results: dict) -> Any:
    """The State at step 0, members stacked."""
    # Frozen parts are traced as zeros and put back, so that no compiled program holds a teacher's weights.
    by_source = {value.source: value for value in given.values()}
    init = jax.jit(lambda key: stage.method.init(key, blank_batch(stage), jax.tree.map(jnp.zeros_like, given)))
    states = []
    for seed in seeds_of(stage, run.seed):
        moving, blank = split(init(jax.random.fold_in(jax.random.key(seed), 0)))
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
    keys = [jax.random.fold_in(shared, seed + 1) for seed in seeds_of(stage, run.seed)]
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
    orders = [of((run.data_seed << 32) + seed + 1) for seed in seeds_of(stage, run.seed)]
    return (np.stack(orders, 1) if own else orders[0]), epochs


def _refreshed(stage: Stage, run: Run, state: Any, step: int) -> Any:
    """What moves, after a refresh of every member with a key of its own."""
    assert stage.refresh is not None
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(run.data_seed), 2), step)
    keys = [jax.random.fold_in(key, seed) for seed in seeds_of(stage, run.seed)]
    return split(stack([stage.refresh(one, step, k) for one, k in zip(unstack(state), keys, strict=True)]))[0]


def _placed(mesh: Mesh | None) -> Callable:
    """Puts a pytree on the device, or a copy on every device of the mesh."""
    return jax.device_put if mesh is None else partial(jax.device_put, device=NamedSharding(mesh, P()))


def _all_finite(name: str, step: int, line: dict) -> bool:
    """Whether all losses are finite; a run goes on while a single member has none but finite ones."""
    losses = [np.isfinite(value) for measure, value in line.items() if measure.endswith("loss")]
    if losses and not np.any(np.all(losses, axis=0)):
        raise Diverged(f"{name} diverged: the loss at step {step} is not finite; lower its learning rate")
    return bool(np.all(losses))
